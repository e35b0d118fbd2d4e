"""Rows of flow runs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import FlowRun, StartInfo
from flowyard.store.bulk import insert_rows, update_rows
from flowyard.store.plain import PlainConnection, insert_text
from flowyard.store.rows import read_id
from flowyard.store.states import STATE_COLUMNS, current_state, locked_runs

if TYPE_CHECKING:
    from flowyard.store.states import AnyRow

_START_FIELDS = tuple(field.name for field in fields(StartInfo))
_CHANGEABLE = frozenset(
    {
        "name",
        "flow_version",
        "parameters",
        "context",
        "tags",
        "policy",
        "pause_keys",
        "resuming",
        "retry_type",
        "infrastructure_pid",
        "start",
        "parent_task_run_id",
        "deployment_id",
    }
)
# By name: a server keeps seven columns more, which every transition would read.
_COLUMNS = (
    *("id", "flow_id", "name", "flow_version", "parameters", "context", "tags", "empirical_policy", "start_info"),
    *("parent_task_run_id", "deployment_id", "infrastructure_pid", "idempotency_key", "state_id", "run_count"),
    *("expected_start_time", "next_scheduled_start_time", "start_time", "end_time", "total_run_time"),
    *("created", "updated"),
)
_SELECTED = [f"flow_run.{name}" for name in _COLUMNS] + [f"state.{name} AS {label}" for name, label in STATE_COLUMNS]
_SELECT = f"""
SELECT {", ".join(_SELECTED)}, flow.name AS flow_name
FROM flow_run JOIN flow ON flow.id = flow_run.flow_id
LEFT JOIN flow_run_state AS state ON state.flow_run_id = flow_run.id AND state.id = flow_run.state_id
WHERE flow_run.id IN (ids)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What only a server knows of a flow run: who asked for it, and where it waits to be handed out."""

    deployment_version: str | None = None
    work_queue_id: UUID | None = None
    work_queue_name: str | None = None
    auto_scheduled: bool = False
    infrastructure_document_id: UUID | None = None
    created_by: dict[str, Any] | None = None
    job_variables: dict[str, Any] | None = None


def insert_flow_run(connection: PlainConnection, run: FlowRun) -> None:
    """Store a new flow run; its state goes to `states.insert_flow_run_state`."""
    connection.insert("flow_run", {"id": run.id, "created": run.created, **_values(run)})
    _keep_tags(connection, run)


def insert_once(connection: PlainConnection, run: FlowRun, origin: Origin) -> bool:
    """Store a new flow run of a server; False when its flow has one with its idempotency key."""
    values = _served_values(run, origin)
    once = f"{insert_text('flow_run', values)} ON CONFLICT (flow_id, idempotency_key) DO NOTHING"
    if connection.execute(once, *values.values()).rowcount == 0:
        return False
    _keep_tags(connection, run)
    return True


def insert_served(connection: PlainConnection, made: Iterable[tuple[FlowRun, Origin]]) -> None:
    """Store new flow runs of a server that have no idempotency keys."""
    made = list(made)
    insert_rows(connection, "flow_run", [_served_values(run, origin) for run, origin in made])
    for run, _ in made:
        _keep_tags(connection, run)


def find(connection: PlainConnection, flow_id: UUID, idempotency_key: str) -> UUID | None:
    """Return the run of a flow that has an idempotency key; None when there is none."""
    found = connection.value(
        "SELECT id FROM flow_run WHERE flow_id = ? AND idempotency_key = ?", flow_id, idempotency_key
    )
    return None if found is None else read_id(found)


def store_progress(connection: PlainConnection, run: FlowRun) -> None:
    """Write the columns of a flow run that a transition can change: no index of the others is looked at."""
    connection.update("flow_run", _progress(run), "id = ?", run.id)


def store_progress_of(connection: PlainConnection, runs: Iterable[FlowRun]) -> None:
    """Do what `store_progress` does for many flow runs."""
    update_rows(connection, "flow_run", [{"id": run.id, **_progress(run)} for run in runs])


def store_flow_run(connection: PlainConnection, run: FlowRun) -> None:
    """Write all columns of a flow run that can change."""
    connection.update("flow_run", _values(run), "id = ?", run.id)


def lock(connection: PlainConnection, flow_run_id: UUID) -> FlowRun:
    """Return a flow run that nobody else can change until this transaction ends.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    found = lock_many(connection, [flow_run_id])
    if not found:
        raise ObjectNotFound("flow run", flow_run_id)
    return found[flow_run_id]


def lock_many(connection: PlainConnection, flow_run_ids: Sequence[UUID]) -> dict[UUID, FlowRun]:
    """Return those of these flow runs that there are; nobody else can change them until this transaction ends."""
    rows = locked_runs(connection, _SELECT, "flow_run", flow_run_ids)
    return {row.id: flow_run_of(row) for row in rows}


def read(connection: PlainConnection, flow_run_id: UUID) -> FlowRun:
    """Return a flow run.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    rows = connection.rows_among(_SELECT, [flow_run_id])
    if not rows:
        raise ObjectNotFound("flow run", flow_run_id)
    return flow_run_of(rows[0])


def is_there(connection: PlainConnection, flow_run_id: UUID) -> bool:
    """Say whether there is a flow run of that id."""
    return connection.value("SELECT 1 FROM flow_run WHERE id = ?", flow_run_id) is not None


def cancelling_among(connection: PlainConnection, flow_run_ids: Collection[UUID]) -> list[UUID]:
    """Return which of these flow runs are to end."""
    if not flow_run_ids:
        return []
    marks = ", ".join("?" for _ in flow_run_ids)
    rows = connection.rows(
        f"SELECT id FROM flow_run WHERE id IN ({marks}) AND state_type = 'CANCELLING'",
        *flow_run_ids,
    )
    return [row.id for row in rows]


def change(connection: PlainConnection, flow_run_id: UUID, changes: dict[str, Any]) -> None:
    """Change attributes of a flow run.

    Raises:
        ObjectNotFound: there is none of that id.
        ValueError: an attribute does not exist or cannot be changed this way.
    """
    unknown = sorted(set(changes) - _CHANGEABLE)
    if unknown:
        raise ValueError(f"cannot change {unknown!r} of a flow run; what can be changed: {sorted(_CHANGEABLE)!r}")
    run = lock(connection, flow_run_id)
    for name, value in changes.items():
        setattr(run, name, value)
    store_flow_run(connection, run)


def change_columns(connection: PlainConnection, flow_run_id: UUID, changes: dict[str, Any], *, now: datetime) -> None:
    """Change columns of a flow run by their names.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if not connection.update("flow_run", {**changes, "updated": now}, "id = ?", flow_run_id):
        raise ObjectNotFound("flow run", flow_run_id)


def flow_run_of(row: AnyRow) -> FlowRun:
    """Return the flow run in a row that is joined with its flow's name and its state."""
    policy = row.empirical_policy
    return FlowRun(
        flow_id=row.flow_id,
        name=row.name,
        id=row.id,
        flow_name=row.flow_name,
        flow_version=row.flow_version,
        parameters=row.parameters,
        context=row.context,
        tags=row.tags,
        policy=RetryPolicy.from_record(policy),
        pause_keys=frozenset(policy.get("pause_keys") or ()),
        resuming=bool(policy.get("resuming")),
        retry_type=policy.get("retry_type"),
        parent_task_run_id=row.parent_task_run_id,
        deployment_id=row.deployment_id,
        infrastructure_pid=row.infrastructure_pid,
        idempotency_key=row.idempotency_key,
        start=StartInfo(**{name: row.start_info.get(name) for name in _START_FIELDS}),
        state=current_state(row, flow_run_id=row.id, task_run_id=row.parent_task_run_id),
        run_count=row.run_count,
        expected_start_time=row.expected_start_time,
        next_scheduled_start_time=row.next_scheduled_start_time,
        start_time=row.start_time,
        end_time=row.end_time,
        total_run_time=row.total_run_time or timedelta(0),
        created=row.created,
        updated=row.updated,
    )


def policy_record(run: FlowRun) -> dict[str, Any]:
    """Return what is stored of a run's retries and pauses."""
    policy = run.policy.to_record()
    policy.update(pause_keys=sorted(run.pause_keys), resuming=run.resuming, retry_type=run.retry_type)
    return policy


def _served_values(run: FlowRun, origin: Origin) -> dict[str, object]:
    values: dict[str, object] = {"id": run.id, "created": run.created, **_values(run)}
    values.update((name, getattr(origin, name)) for name in Origin.__slots__)
    return values


def _values(run: FlowRun) -> dict[str, Any]:
    return {
        "flow_id": run.flow_id,
        "name": run.name,
        "flow_version": run.flow_version,
        "parameters": run.parameters,
        "context": run.context,
        "tags": list(run.tags),
        "parent_task_run_id": run.parent_task_run_id,
        "deployment_id": run.deployment_id,
        "infrastructure_pid": run.infrastructure_pid,
        "idempotency_key": run.idempotency_key,
        "start_info": {name: value for name in _START_FIELDS if (value := getattr(run.start, name)) is not None},
        **_progress(run),
    }


def _keep_tags(connection: PlainConnection, run: FlowRun) -> None:
    if run.tags and not connection.dialect.has_tag_index:
        for tag in dict.fromkeys(run.tags):
            connection.execute("INSERT OR IGNORE INTO flow_run_tag (tag, flow_run_id) VALUES (?, ?)", tag, run.id)


def _progress(run: FlowRun) -> dict[str, Any]:
    state = run.state
    return {
        "empirical_policy": policy_record(run),
        "state_id": state.id if state else None,
        "state_type": state.type.value if state else None,
        "state_name": state.name if state else None,
        "state_timestamp": state.timestamp if state else None,
        "run_count": run.run_count,
        "expected_start_time": run.expected_start_time,
        "next_scheduled_start_time": run.next_scheduled_start_time,
        "start_time": run.start_time,
        "end_time": run.end_time,
        "total_run_time": run.total_run_time,
        "updated": run.updated,
    }
