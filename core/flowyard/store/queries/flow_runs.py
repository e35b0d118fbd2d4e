"""Flow runs, read with filters and deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement, Select

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.filters import FlowRunFilter
from flowyard.schemas.runs import FORKED_FROM, FlowRun
from flowyard.schemas.states import FINAL_TYPES
from flowyard.store import artifacts, flow_run_inputs, reported_task_runs
from flowyard.store.dialects import Dialect
from flowyard.store.flow_runs import flow_run_of
from flowyard.store.rows import STATE_PREFIX
from flowyard.store.tables import flow, flow_run, flow_run_state, lease, log, rollup, task_run, task_run_state

_FINAL = [kind.value for kind in FINAL_TYPES]
# All but the id: the row of the run has it as `state_id`.
_STATE_COLUMNS = [
    column.label(STATE_PREFIX + column.name) for column in flow_run_state.c if column.name != "flow_run_id"
]


def read(connection: Connection, flow_run_id: UUID) -> FlowRun:
    """Return a flow run with its current state.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(_select().where(flow_run.c.id == flow_run_id)).first()
    if row is None:
        raise ObjectNotFound("flow run", flow_run_id)
    return flow_run_of(row)


def read_many(
    connection: Connection, dialect: Dialect, where: FlowRunFilter | None, *, limit: int, offset: int
) -> list[FlowRun]:
    """Return flow runs, newest first."""
    query = _select().where(*_conditions(dialect, where)).order_by(flow_run.c.id.desc()).limit(limit).offset(offset)
    return [flow_run_of(row) for row in connection.execute(query)]


def count(connection: Connection, dialect: Dialect, where: FlowRunFilter | None) -> int:
    """Return how many flow runs match."""
    query = select(func.count()).select_from(flow_run.join(flow, flow.c.id == flow_run.c.flow_id))
    return connection.execute(query.where(*_conditions(dialect, where))).scalar_one()


def subflow_runs_of(connection: Connection, flow_run_id: UUID) -> Sequence[UUID]:
    """Return the runs that a flow run called."""
    own_task_runs = select(task_run.c.id).where(task_run.c.flow_run_id == flow_run_id)
    query = select(flow_run.c.id).where(flow_run.c.parent_task_run_id.in_(own_task_runs))
    return connection.execute(query).scalars().all()


def forks(connection: Connection) -> list[tuple[UUID, UUID]]:
    """Return the runs that began with what another one had made: (fork, source)."""
    rows = connection.execute(select(flow_run.c.id, flow_run.c.context).where(flow_run.c.context.is_not(None)))
    return [(row.id, UUID(row.context[FORKED_FROM])) for row in rows if row.context.get(FORKED_FROM)]


def has_ended(connection: Connection, flow_run_id: UUID, before: datetime) -> bool:
    """Say whether a flow run ended before a moment and nobody owns it; so it stays until this transaction ends.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    query = select(flow_run.c.state_type, flow_run.c.state_timestamp).where(flow_run.c.id == flow_run_id)
    row = connection.execute(query.with_for_update()).first()
    if row is None:
        raise ObjectNotFound("flow run", flow_run_id)
    if row.state_type not in _FINAL or row.state_timestamp >= before:
        return False
    held = select(lease.c.token).where(lease.c.flow_run_id == flow_run_id, lease.c.owner_id.is_not(None))
    return connection.execute(held).first() is None


def delete_part(connection: Connection, flow_run_id: UUID, *, limit: int) -> bool:
    """Delete at most `limit` of a flow run's task runs and as many log lines; True when none are left."""
    of_run = task_run.c.flow_run_id == flow_run_id
    ids = connection.execute(select(task_run.c.id).where(of_run).limit(limit)).scalars().all()
    # Subflow runs that nobody deletes stay, without a parent.
    connection.execute(update(flow_run).where(flow_run.c.parent_task_run_id.in_(ids)).values(parent_task_run_id=None))
    connection.execute(delete(task_run_state).where(task_run_state.c.task_run_id.in_(ids)))
    connection.execute(delete(task_run).where(of_run, task_run.c.id.in_(ids)))
    lines = connection.execute(select(log.c.id).where(log.c.flow_run_id == flow_run_id).limit(limit)).scalars().all()
    connection.execute(delete(log).where(log.c.flow_run_id == flow_run_id, log.c.id.in_(lines)))
    return len(ids) < limit and len(lines) < limit


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
    for noun in (artifacts, flow_run_inputs, reported_task_runs):
        noun.remove_of_flow_run(connection, flow_run_id)
    for table in (task_run, flow_run_state, log, rollup, lease):
        connection.execute(delete(table).where(table.c.flow_run_id == flow_run_id))


def _select() -> Select[Any]:
    joined = flow_run.join(flow, flow.c.id == flow_run.c.flow_id).outerjoin(
        flow_run_state,
        (flow_run_state.c.flow_run_id == flow_run.c.id) & (flow_run_state.c.id == flow_run.c.state_id),
    )
    return select(flow_run, flow.c.name.label("flow_name"), *_STATE_COLUMNS).select_from(joined)


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
    if where.is_subflow is not None:
        is_root = flow_run.c.parent_task_run_id.is_(None)
        found.append(~is_root if where.is_subflow else is_root)
    if where.ended_before is not None:
        found.append(flow_run.c.state_type.in_(_FINAL))
        found.append(flow_run.c.state_timestamp < where.ended_before)
    return found
