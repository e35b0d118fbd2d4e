"""Events of what was noted in a transaction, as Prefect 2 names and shapes them, stored in the same transaction.

The event of a state has the state's id: a client that sends it too stores it once. About 60 microseconds an event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import State
from flowyard.store.bulk import BulkInsert
from flowyard.store.dialects import Dialect
from flowyard.store.encoding import storable_text, to_json, to_microseconds
from flowyard.store.happenings import FlowRunEntered, Happening, StatusChanged, TaskRunEntered
from flowyard.store.plain import PlainConnection
from flowyard.store.rows import Row, read_id

_EVENT = (
    *("id", "occurred", "event", "resource_id", "resource", "related", "payload", "received", "recorded", "follows"),
)
_RESOURCE = ("event_id", "position", "resource_id", "role", "occurred", "labels")
_IDS_IN_A_QUERY = 500
_LONGEST_INDEXED = 500
# A trigger waits for the event that another one follows; what is older is not waited for.
_FOLLOWS_WITHIN = timedelta(minutes=5)
_RUNS = """
SELECT flow_run.id, flow_run.name, flow_run.tags, flow_run.flow_id, flow.name AS flow_name,
flow_run.deployment_id, deployment.name AS deployment_name, flow_run.work_queue_id, work_queue.name AS work_queue_name,
work_pool.id AS work_pool_id, work_pool.name AS work_pool_name
FROM flow_run JOIN flow ON flow.id = flow_run.flow_id
LEFT JOIN deployment ON deployment.id = flow_run.deployment_id
LEFT JOIN work_queue ON work_queue.id = flow_run.work_queue_id
LEFT JOIN work_pool ON work_pool.id = work_queue.work_pool_id"""
# Which table has the name of a thing that another one belongs to.
_TABLES = {"flow": "flow", "work-pool": "work_pool", "work-queue": "work_queue"}
_KINDS = {"deployment": "deployment", "work-queue": "work_queue", "work-pool": "work_pool"}
_PLACES = tuple(f"{column}_{what}" for column in _KINDS.values() for what in ("id", "name"))
Labels = dict[str, str]


class EventWriter:
    """Stores events of one database. For the thread of the writer."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._write_events = BulkInsert(dialect, "event", _EVENT, conflict="DO NOTHING", is_sent=True)
        self._write_resources = BulkInsert(dialect, "event_resource", _RESOURCE, conflict="DO NOTHING", is_sent=True)

    def __call__(self, connection: PlainConnection, noted: Sequence[Happening], now: datetime) -> None:
        """Store an event for each thing that happened, in the order in which it did."""
        runs = _runs_of(connection, noted)
        native_id = self._dialect.native_id
        events: list[Any] = []
        resources: list[Any] = []
        recorded = to_microseconds(now)
        for position, happening in enumerate(noted):
            if isinstance(happening, StatusChanged):
                made = _of_status(connection, happening, now)
            else:
                run = None if happening.flow_run_id is None else runs.get(happening.flow_run_id)
                made = (
                    _of_flow_run(happening, run)
                    if isinstance(happening, FlowRunEntered)
                    else _of_task_run(happening, run)
                )
            if made is None:
                continue
            event_id, occurred, name, follows, payload, resource, related = made
            native, at = native_id(event_id), to_microseconds(occurred)
            labels = to_json(resource)
            about = _indexed(resource["prefect.resource.id"])
            events += (native, at, _indexed(name), about, labels, to_json(related), to_json(payload))
            # In the order in which they came: streams go by this time.
            events += (recorded, recorded + position, None if follows is None else native_id(follows))
            resources += (native, 0, about, "", at, labels)
            for place, other in enumerate(related, 1):
                role = other["prefect.resource.role"]
                resources += (native, place, _indexed(other["prefect.resource.id"]), role, at, to_json(other))
        if events:
            self._write_events(connection, events)
            self._write_resources(connection, resources)


def _indexed(text: str) -> str:
    # An entry of an index of PostgreSQL has at most 2,700 bytes, and a tag or the name of a state may be longer.
    return storable_text(text)[:_LONGEST_INDEXED]


_Made = tuple[UUID, datetime, str, UUID | None, dict[str, Any], Labels, list[Labels]]


def _runs_of(connection: PlainConnection, noted: Sequence[Happening]) -> Mapping[UUID, Row]:
    found: dict[UUID, Row] = {}
    wanted: dict[UUID, None] = {}
    for each in noted:
        if isinstance(each, FlowRunEntered) and _is_known(each.run):
            found[each.flow_run_id] = _known(each.run)
        elif not isinstance(each, StatusChanged) and each.flow_run_id is not None:
            wanted[each.flow_run_id] = None
    ids = [flow_run_id for flow_run_id in wanted if flow_run_id not in found]
    for start in range(0, len(ids), _IDS_IN_A_QUERY):
        some = ids[start : start + _IDS_IN_A_QUERY]
        found.update((row.id, row) for row in connection.rows_among(f"{_RUNS} WHERE flow_run.id IN (ids)", some))
    return found


def _is_known(run: FlowRun) -> bool:
    """Say whether a run itself says all that its events name: one of no deployment has no queue and no pool either."""
    return bool(run.flow_name) and run.deployment_id is None


def _known(run: FlowRun) -> Row:
    nowhere = dict.fromkeys(_PLACES)
    return Row(id=run.id, name=run.name, tags=run.tags, flow_id=run.flow_id, flow_name=run.flow_name, **nowhere)


def _of_flow_run(entered: FlowRunEntered, run: Row | None) -> _Made | None:
    if run is None:  # deleted in the same transaction
        return None
    state = entered.state
    resource = {**_labels("flow-run", run.id, run.name), **_state_labels(state)}
    related = [_related("flow", run.flow_id, run.flow_name), *_place_of(run), *_tags(run.tags)]
    name = f"prefect.flow-run.{state.name}"
    return state.id, state.timestamp, name, _followed(entered.before, state), _payload(entered), resource, related


def _of_task_run(entered: TaskRunEntered, run: Row | None) -> _Made:
    state = entered.state
    resource = {**_labels("task-run", entered.task_run_id, entered.name), **_state_labels(state)}
    related: list[Labels] = []
    if run is not None:
        related += (_related("flow-run", run.id, run.name), _related("flow", run.flow_id, run.flow_name))
        related += _place_of(run)
    related += _tags(sorted({*entered.tags, *(() if run is None else run.tags)}))
    name = f"prefect.task-run.{state.name}"
    return state.id, state.timestamp, name, _followed(entered.before, state), _payload(entered), resource, related


def _of_status(connection: PlainConnection, changed: StatusChanged, now: datetime) -> _Made:
    related: list[Labels] = []
    for kind, other in changed.belongs_to:
        name = connection.value(f"SELECT name FROM {_TABLES[kind]} WHERE id = ?", other)
        if name is not None:
            related.append(_related(kind, other, name))
    status = changed.status.lower().replace("_", "-")
    # Prefect has no event for a worker that the server no longer hears of.
    family = "flowyard" if changed.kind == "worker" else "prefect"
    resource = _labels(changed.kind, changed.id, changed.name)
    return new_id(), now, f"{family}.{changed.kind}.{status}", None, {"status": changed.status}, resource, related


def _place_of(run: Row) -> Iterator[Labels]:
    """Yield what a run of a deployment has to do with, as far as it is still there."""
    for kind, column in _KINDS.items():
        identifier, name = getattr(run, f"{column}_id"), getattr(run, f"{column}_name")
        if identifier is not None and name is not None:
            yield _related(kind, read_id(identifier), name)


def _labels(kind: str, identifier: UUID, name: str) -> Labels:
    return {"prefect.resource.id": f"prefect.{kind}.{identifier}", "prefect.resource.name": name}


def _related(kind: str, identifier: UUID, name: str) -> Labels:
    return {**_labels(kind, identifier, name), "prefect.resource.role": kind}


def _tags(tags: Sequence[str]) -> list[Labels]:
    return [{"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"} for tag in tags]


def _state_labels(state: State[Any]) -> Labels:
    return {
        "prefect.state-message": state.message or "",
        "prefect.state-name": state.name,
        "prefect.state-timestamp": state.timestamp.isoformat(),
        "prefect.state-type": state.type.value,
    }


def _payload(entered: FlowRunEntered | TaskRunEntered) -> dict[str, Any]:
    before, state = entered.before, entered.state
    return {
        "intended": {"from": None if before is None else before.type.value, "to": state.type.value},
        "initial_state": None if before is None else _brief(before),
        "validated_state": _brief(state),
    }


def _brief(state: State[Any]) -> dict[str, Any]:
    return {"type": state.type.value, "name": state.name, "message": state.message or ""}


def _followed(before: State[Any] | None, state: State[Any]) -> UUID | None:
    is_recent = before is not None and state.timestamp - before.timestamp < _FOLLOWS_WITHIN
    return before.id if before is not None and is_recent else None
