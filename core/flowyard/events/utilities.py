"""How code sends events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.context import current
from flowyard.process.control import control_plane
from flowyard.schemas.api.events import ID_LABEL, NAME_LABEL, ROLE_LABEL, Event, RelatedResource, Resource
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import utcnow


def emit_event(
    event: str,
    resource: Mapping[str, str],
    occurred: datetime | None = None,
    related: Sequence[Mapping[str, str] | RelatedResource] | None = None,
    payload: Mapping[str, Any] | None = None,
    id: UUID | None = None,
    follows: Event | None = None,
) -> Event:
    """Store an event, and return it when it is on disk: on the server of FLOWYARD_API_URL, or in the own database.

    In a run the flow run, the task run and their tags are related to it, unless you relate them yourself.

    Args:
        event: its name.
        resource: labels of what it is about; one is `prefect.resource.id`.
        occurred: when it did; by default now.
        related: labels of other resources, each with a `prefect.resource.role`.
        payload: more about it, that JSON can say.
        id: the event of an id is stored once, however often it is sent.
        follows: the event that it comes after.

    Raises:
        ValueError: labels are missing.
    """
    given = [one if isinstance(one, RelatedResource) else RelatedResource(dict(one)) for one in related or ()]
    known = {one.root[ID_LABEL] for one in given}
    made = Event(
        id=id or new_id(),
        event=event,
        occurred=occurred or utcnow(),
        resource=Resource(dict(resource)),
        related=[*given, *(one for one in _related_here() if one.root[ID_LABEL] not in known)],
        payload=dict(payload or {}),
        follows=None if follows is None else follows.id,
    )
    control_plane().events.emit([made.model_dump(mode="json")])
    return made


def _related_here() -> list[RelatedResource]:
    here = current()
    task_context = here.shown_task_run
    found: list[RelatedResource] = []
    tags = set(here.tags)
    for kind, run in (
        ("flow-run", None if here.flow_run is None else here.flow_run.flow_run),
        ("task-run", None if task_context is None else task_context.task_run),
    ):
        if run is not None:
            tags.update(run.tags)
            labels = {ID_LABEL: f"prefect.{kind}.{run.id}", NAME_LABEL: run.name, ROLE_LABEL: kind}
            found.append(RelatedResource(labels))
    return found + [RelatedResource({ID_LABEL: f"prefect.tag.{tag}", ROLE_LABEL: "tag"}) for tag in sorted(tags)]
