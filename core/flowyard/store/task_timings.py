"""Task runs as a profile reads them: all of a flow run, page by page, without what a profile does not look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row
from sqlalchemy.sql import ColumnElement

from flowyard.schemas.metrics import TaskMetrics, TaskTiming
from flowyard.schemas.states import StateType
from flowyard.store.tables import task_run, task_run_state

_COLUMNS: tuple[ColumnElement[Any], ...] = (
    task_run.c.id,
    task_run.c.name,
    task_run.c.task_name,
    task_run.c.parent_task_run_id,
    task_run.c.state_type,
    task_run.c.run_count,
    task_run.c.task_inputs,
    task_run.c.created,
    task_run.c.start_time,
    task_run.c.end_time,
    task_run.c.metrics,
)
_States = tuple[tuple[StateType, str, Any], ...]


def read_page(connection: Connection, flow_run_id: UUID, *, after: UUID | None, limit: int) -> list[TaskTiming]:
    """Return the task runs that follow another one in the order of ids, which is that of creation."""
    query = select(*_COLUMNS).where(task_run.c.flow_run_id == flow_run_id)
    if after is not None:
        query = query.where(task_run.c.id > after)
    rows = connection.execute(query.order_by(task_run.c.id).limit(limit)).all()
    # What a run that started once went through, its times say.
    states = _states(connection, [row.id for row in rows if row.run_count > 1])
    return [_timing(row, states.get(row.id, ())) for row in rows]


def _states(connection: Connection, ids: Iterable[UUID]) -> dict[UUID, _States]:
    wanted = list(ids)
    if not wanted:
        return {}
    columns = task_run_state.c
    query = select(columns.task_run_id, columns.type, columns.name, columns.timestamp)
    query = query.where(columns.task_run_id.in_(wanted)).order_by(columns.timestamp, columns.id)
    found: dict[UUID, _States] = {}
    for run_id, kind, name, moment in connection.execute(query):
        found[run_id] = (*found.get(run_id, ()), (StateType(kind), name, moment))
    return found


def _timing(row: Row[Any], states: _States) -> TaskTiming:
    inputs = [item for items in row.task_inputs.values() for item in items] if row.task_inputs else ()
    return TaskTiming(
        id=row.id,
        name=row.name,
        task_name=row.task_name,
        parent_task_run_id=row.parent_task_run_id,
        state_type=None if row.state_type is None else StateType(row.state_type),
        run_count=row.run_count,
        upstream=tuple(found for item in inputs if (found := _id_of(item)) is not None),
        created=row.created,
        start_time=row.start_time,
        end_time=row.end_time,
        metrics=None if row.metrics is None else TaskMetrics.from_record(row.metrics),
        states=states,
    )


def _id_of(item: dict[str, str]) -> UUID | None:
    if item.get("input_type") != "task_run":
        return None
    try:
        return UUID(item["id"])
    except (KeyError, ValueError):
        return None
