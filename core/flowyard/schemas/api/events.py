"""Events, as the REST API has them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, RootModel

from flowyard.schemas.api.base import Body, DateTime, Model
from flowyard.schemas.api.sorting import EventOrder


class Countable(StrEnum):
    """A countable."""

    DAY = "day"
    TIME = "time"
    EVENT = "event"
    RESOURCE = "resource"


class TimeUnit(StrEnum):
    """A time unit."""

    WEEK = "week"
    DAY = "day"
    HOUR = "hour"
    MINUTE = "minute"
    SECOND = "second"


class EventCount(Model):
    """An event count."""

    value: str
    label: str
    count: int
    start_time: DateTime
    end_time: DateTime


class EventIDFilter(Body):
    """Which event ids to take; a field that is None takes all."""

    id: list[UUID] | None = None


class EventNameFilter(Body):
    """Which event names to take; a field that is None takes all."""

    prefix: list[str] | None = None
    exclude_prefix: list[str] | None = None
    name: list[str] | None = None
    exclude_name: list[str] | None = None


class EventOccurredFilter(Body):
    """Which event occurreds to take; a field that is None takes all."""

    since: DateTime | None = None
    until: DateTime | None = None


class RelatedResource(RootModel[dict[str, str]]):
    """What else an event is about: a resource with the label `prefect.resource.role`."""


class Resource(RootModel[dict[str, str]]):
    """A thing that events are about, as labels; `prefect.resource.id` names it."""


class Event(Model):
    """An event."""

    occurred: DateTime
    event: str
    resource: Resource
    related: list[RelatedResource] = Field(default_factory=list[RelatedResource])
    payload: dict[str, Any] = Field(default_factory=dict[str, Any])
    id: UUID
    follows: UUID | None = None


class ReceivedEvent(Model):
    """A received event."""

    occurred: DateTime
    event: str
    resource: Resource
    related: list[RelatedResource] = Field(default_factory=list[RelatedResource])
    payload: dict[str, Any] = Field(default_factory=dict[str, Any])
    id: UUID
    follows: UUID | None = None
    received: DateTime


class EventPage(Model):
    """An event page."""

    events: list[ReceivedEvent]
    total: int
    next_page: Annotated[str, Field(min_length=1, max_length=65536)] | None


class ResourceSpecification(RootModel[dict[str, str | list[str]]]):
    """Labels that a resource must have; a value can end with `*`, and one of a list is enough."""


class EventAnyResourceFilter(Body):
    """Which event any resources to take; a field that is None takes all."""

    id: list[str] | None = None
    id_prefix: list[str] | None = None
    labels: ResourceSpecification | None = None


class EventRelatedFilter(Body):
    """Which event relateds to take; a field that is None takes all."""

    id: list[str] | None = None
    role: list[str] | None = None
    resources_in_roles: list[list[tuple[str, str]]] | None = None
    labels: ResourceSpecification | None = None


class EventResourceFilter(Body):
    """Which event resources to take; a field that is None takes all."""

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
