"""Rows of flow runs."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.sql import ColumnElement, Select

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.filters import FlowRunFilter
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import FlowRun, StartInfo
from flowyard.store import artifacts
from flowyard.store.dialects import Dialect
from flowyard.store.states import current_state
from flowyard.store.tables import flow, flow_run, flow_run_state, lease, log, rollup, task_run, task_run_state

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
# All but the id: the row of the run has it as `state_id`.
_STATE_COLUMNS = [column.label(f"state__{column.name}") for column in flow_run_state.c if column.name != "flow_run_id"]


def insert_flow_run(connection: Connection, run: FlowRun) -> None:
    """Store a new flow run; its state goes to `states.insert_flow_run_state`."""
    connection.execute(insert(flow_run), {"id": run.id, "created": run.created, **_values(run)})


def store_flow_run(connection: Connection, run: FlowRun) -> None:
    """Write all columns of a flow run that can change."""
    connection.execute(update(flow_run).where(flow_run.c.id == run.id), _values(run))


def lock(connection: Connection, flow_run_id: UUID) -> FlowRun:
    """Return a flow run that nobody else can change until this transaction ends.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    # FOR UPDATE is not written for SQLite, where BEGIN IMMEDIATE has the same effect.
    return _first(
        connection.execute(_select().where(flow_run.c.id == flow_run_id).with_for_update(of=flow_run)), flow_run_id
    )


def read(connection: Connection, flow_run_id: UUID) -> FlowRun:
    """Return a flow run with its current state.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    return _first(connection.execute(_select().where(flow_run.c.id == flow_run_id)), flow_run_id)


def read_many(
    connection: Connection, dialect: Dialect, where: FlowRunFilter | None, *, limit: int, offset: int
) -> list[FlowRun]:
    """Return flow runs, newest first."""
    query = _select().where(*_conditions(dialect, where)).order_by(flow_run.c.id.desc()).limit(limit).offset(offset)
    return [_flow_run_of(row) for row in connection.execute(query)]


def count(connection: Connection, dialect: Dialect, where: FlowRunFilter | None) -> int:
    """Return how many flow runs match."""
    query = select(func.count()).select_from(flow_run.join(flow, flow.c.id == flow_run.c.flow_id))
    return connection.execute(query.where(*_conditions(dialect, where))).scalar_one()


def is_there(connection: Connection, flow_run_id: UUID) -> bool:
    """Say whether there is a flow run of that id."""
    return connection.execute(select(exists().where(flow_run.c.id == flow_run_id))).scalar_one()


def change(connection: Connection, flow_run_id: UUID, changes: dict[str, Any]) -> None:
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


def delete_flow_run(connection: Connection, flow_run_id: UUID) -> None:
    """Delete a flow run with its task runs, states, logs, artifacts, rollups and lease.

    Subflow runs stay, without a parent.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if connection.execute(delete(flow_run).where(flow_run.c.id == flow_run_id)).rowcount == 0:
        raise ObjectNotFound("flow run", flow_run_id)
    own_task_runs = select(task_run.c.id).where(task_run.c.flow_run_id == flow_run_id)
    connection.execute(
        update(flow_run).where(flow_run.c.parent_task_run_id.in_(own_task_runs)).values(parent_task_run_id=None)
    )
    connection.execute(delete(task_run_state).where(task_run_state.c.task_run_id.in_(own_task_runs)))
    artifacts.remove_of_flow_run(connection, flow_run_id)
    for table in (task_run, flow_run_state, log, rollup, lease):
        connection.execute(delete(table).where(table.c.flow_run_id == flow_run_id))


def _select() -> Select[Any]:
    joined = flow_run.join(flow, flow.c.id == flow_run.c.flow_id).outerjoin(
        flow_run_state,
        (flow_run_state.c.flow_run_id == flow_run.c.id) & (flow_run_state.c.id == flow_run.c.state_id),
    )
    return select(flow_run, flow.c.name.label("flow_name"), *_STATE_COLUMNS).select_from(joined)


def _first(result: Any, flow_run_id: UUID) -> FlowRun:
    row = result.first()
    if row is None:
        raise ObjectNotFound("flow run", flow_run_id)
    return _flow_run_of(row)


def _conditions(dialect: Dialect, where: FlowRunFilter | None) -> list[ColumnElement[bool]]:
    if where is None:
        return []
    found: list[ColumnElement[bool]] = []
    if where.ids is not None:
        found.append(flow_run.c.id.in_(where.ids))
    if where.flow_names is not None:
        found.append(flow.c.name.in_(where.flow_names))
    if where.state_types is not None:
        found.append(flow_run.c.state_type.in_([kind.value for kind in where.state_types]))
    if where.state_names is not None:
        found.append(func.lower(flow_run.c.state_name).in_([name.lower() for name in where.state_names]))
    if where.tags_all is not None:
        found.extend(dialect.json_array_has(flow_run.c.tags, tag) for tag in where.tags_all)
    if where.parent_task_run_ids is not None:
        found.append(flow_run.c.parent_task_run_id.in_(where.parent_task_run_ids))
    return found


def _flow_run_of(row: Row[Any]) -> FlowRun:
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


def _values(run: FlowRun) -> dict[str, Any]:
    policy = run.policy.to_record()
    policy.update(pause_keys=sorted(run.pause_keys), resuming=run.resuming, retry_type=run.retry_type)
    state = run.state
    return {
        "flow_id": run.flow_id,
        "name": run.name,
        "flow_version": run.flow_version,
        "parameters": run.parameters,
        "context": run.context,
        "empirical_policy": policy,
        "tags": list(run.tags),
        "parent_task_run_id": run.parent_task_run_id,
        "deployment_id": run.deployment_id,
        "infrastructure_pid": run.infrastructure_pid,
        "idempotency_key": run.idempotency_key,
        "start_info": {name: value for name, value in asdict(run.start).items() if value is not None},
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
