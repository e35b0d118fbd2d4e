"""Rows of task runs, read; the journal's projection writes them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement, Select

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.filters import TaskRunFilter
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import FINAL_TYPES
from flowyard.store.rows import STATE_PREFIX
from flowyard.store.states import current_state
from flowyard.store.tables import task_run, task_run_state

if TYPE_CHECKING:
    from flowyard.store.states import AnyRow

_FINAL = [kind.value for kind in FINAL_TYPES]
_STATE_COLUMNS = [
    column.label(STATE_PREFIX + column.name) for column in task_run_state.c if column.name != "task_run_id"
]


def read(connection: Connection, task_run_id: UUID) -> TaskRun:
    """Return a task run with its current state.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(_select().where(task_run.c.id == task_run_id)).first()
    if row is None:
        raise ObjectNotFound("task run", task_run_id)
    return task_run_of(row)


def read_many(connection: Connection, where: TaskRunFilter | None, *, limit: int, offset: int) -> list[TaskRun]:
    """Return task runs, newest first."""
    query = _select().where(*_conditions(where)).order_by(task_run.c.id.desc()).limit(limit).offset(offset)
    return [task_run_of(row) for row in connection.execute(query)]


def count(connection: Connection, where: TaskRunFilter | None) -> int:
    """Return how many task runs match."""
    query = select(func.count()).select_from(task_run).where(*_conditions(where))
    return connection.execute(query).scalar_one()


def flow_run_id_of(connection: Connection, task_run_id: UUID) -> UUID | None:
    """Return the flow run of a task run; None when it has none.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select(task_run.c.flow_run_id).where(task_run.c.id == task_run_id)).first()
    if row is None:
        raise ObjectNotFound("task run", task_run_id)
    return row.flow_run_id


def _select() -> Select[Any]:
    joined = task_run.outerjoin(
        task_run_state,
        (task_run_state.c.task_run_id == task_run.c.id) & (task_run_state.c.id == task_run.c.state_id),
    )
    return select(task_run, *_STATE_COLUMNS).select_from(joined)


def _conditions(where: TaskRunFilter | None) -> list[ColumnElement[bool]]:
    if where is None:
        return []
    found: list[ColumnElement[bool]] = []
    if where.ids is not None:
        found.append(task_run.c.id.in_(where.ids))
    if where.flow_run_ids is not None:
        found.append(task_run.c.flow_run_id.in_(where.flow_run_ids))
    if where.names is not None:
        found.append(task_run.c.name.in_(where.names))
    if where.state_types is not None:
        found.append(task_run.c.state_type.in_([kind.value for kind in where.state_types]))
    if where.state_names is not None:
        found.append(func.lower(task_run.c.state_name).in_([name.lower() for name in where.state_names]))
    return found


def task_run_of(row: AnyRow) -> TaskRun:
    """Return the task run in a row that is joined with its state."""
    return TaskRun(
        task_key=row.task_key,
        dynamic_key=row.dynamic_key,
        name=row.name,
        task_name=row.task_name,
        flow_run_id=row.flow_run_id,
        parent_task_run_id=row.parent_task_run_id,
        id=row.id,
        task_version=row.task_version,
        tags=tuple(row.tags),
        policy=RetryPolicy.from_record(row.empirical_policy),
        task_inputs=row.task_inputs,
        cache_key=row.cache_key,
        cache_expiration=row.cache_expiration,
        flow_run_run_count=row.flow_run_run_count,
        state=current_state(row, flow_run_id=row.flow_run_id, task_run_id=row.id),
        run_count=row.run_count,
        expected_start_time=row.expected_start_time,
        next_scheduled_start_time=row.next_scheduled_start_time,
        start_time=row.start_time,
        end_time=row.end_time,
        total_run_time=row.total_run_time or timedelta(0),
        created=row.created,
        updated=row.updated,
        metrics=None if row.metrics is None else TaskMetrics.from_record(row.metrics),
    )
