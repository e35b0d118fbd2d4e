"""Events, as the REST API has them: what happened to which resource, and how lists of them are filtered."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, RootModel

from flowyard.schemas.api.base import Body, DateTime, Model
from flowyard.schemas.api.sorting import EventOrder

ID_LABEL = "prefect.resource.id"
"""The label that names a resource."""
NAME_LABEL = "prefect.resource.name"
ROLE_LABEL = "prefect.resource.role"
"""The label that says what a related resource has to do with the event."""


class Countable(StrEnum):
    """What events are counted by."""

    DAY = "day"
    TIME = "time"
    EVENT = "event"
    RESOURCE = "resource"


class TimeUnit(StrEnum):
    """A unit of the time that events are counted by."""

    WEEK = "week"
    DAY = "day"
    HOUR = "hour"
    MINUTE = "minute"
    SECOND = "second"


class EventCount(Model):
    """How many events there are of one value."""

    value: str
    label: str
    count: int
    start_time: DateTime
    end_time: DateTime


class EventIDFilter(Body):
    """Events by their id."""

    id: list[UUID] | None = None


class EventNameFilter(Body):
    """Events by their name; a prefix ends anywhere."""

    prefix: list[str] | None = None
    exclude_prefix: list[str] | None = None
    name: list[str] | None = None
    exclude_name: list[str] | None = None


class EventOccurredFilter(Body):
    """Events by when they occurred, both ends included."""

    since: DateTime | None = None
    until: DateTime | None = None


def _identified(labels: dict[str, str]) -> dict[str, str]:
    if not labels.get(ID_LABEL):
        raise ValueError(f"a resource needs the label {ID_LABEL!r}")
    return labels


def _with_role(labels: dict[str, str]) -> dict[str, str]:
    if not labels.get(ROLE_LABEL):
        raise ValueError(f"a related resource needs the label {ROLE_LABEL!r}")
    return labels


class Resource(RootModel[Annotated[dict[str, str], AfterValidator(_identified)]]):
    """A thing that events are about, as labels; `prefect.resource.id` names it."""


class RelatedResource(RootModel[Annotated[dict[str, str], AfterValidator(_identified), AfterValidator(_with_role)]]):
    """What else an event is about: a resource with the label `prefect.resource.role`."""


class Event(Model):
    """Something that happened."""

    occurred: DateTime
    event: str
    resource: Resource
    related: list[RelatedResource] = Field(default_factory=list[RelatedResource])
    payload: dict[str, Any] = Field(default_factory=dict[str, Any])
    id: UUID
    follows: UUID | None = None
    """The event that it comes after, however late that one arrives."""

    @property
    def resources(self) -> list[dict[str, str]]:
        """The labels of what it is about, and of what is related to that."""
        return [self.resource.root, *(related.root for related in self.related)]


class ReceivedEvent(Event):
    """An event, and when the server got it."""

    received: DateTime


class EventPage(Model):
    """Some events of a list, how many the list has, and where its next ones are."""

    events: list[ReceivedEvent]
    total: int
    next_page: Annotated[str, Field(min_length=1, max_length=65536)] | None


class ResourceSpecification(RootModel[dict[str, str | list[str]]]):
    """Labels that a resource must have.

    One value of a list is enough; one that ends with `*` is the beginning of a value, one that begins with `!` is what
    the value must not be.
    """

    def values(self) -> dict[str, list[str]]:
        """Return what each label may be."""
        return {label: [value] if isinstance(value, str) else value for label, value in self.root.items()}


class EventAnyResourceFilter(Body):
    """Events by any resource that they are about or related to."""

    id: list[str] | None = None
    id_prefix: list[str] | None = None
    labels: ResourceSpecification | None = None


class EventRelatedFilter(Body):
    """Events by their related resources."""

    id: list[str] | None = None
    role: list[str] | None = None
    resources_in_roles: list[tuple[str, str]] | None = None
    labels: ResourceSpecification | None = None


class EventResourceFilter(Body):
    """Events by the resource that they are about."""

    id: list[str] | None = None
    id_prefix: list[str] | None = None
    labels: ResourceSpecification | None = None
    distinct: bool = False


class EventFilter(Body):
    """Which events to take; a field that is None takes all."""

    occurred: EventOccurredFilter = Field(default_factory=EventOccurredFilter)
    event: EventNameFilter | None = None
    any_resource: EventAnyResourceFilter | None = None
    resource: EventResourceFilter | None = None
    related: EventRelatedFilter | None = None
    id: EventIDFilter = Field(default_factory=EventIDFilter)
    order: EventOrder = EventOrder.DESC
