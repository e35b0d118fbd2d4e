"""Task runs for the REST API: read with filters, in orders, page by page."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.engine import Connection
from sqlalchemy.sql import Select

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.sorting import TaskRunSort
from flowyard.schemas.api.task_runs import TaskRun
from flowyard.store.answers import task_run_answer
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.related import Filters, of_task_runs
from flowyard.store.list_bodies import task_runs_body
from flowyard.store.ordering import Order, Page, ordered
from flowyard.store.rows import STATE_PREFIX
from flowyard.store.tables import task_run, task_run_state

ORDERS = {
    TaskRunSort.ID_DESC: Order(task_run.c.id, is_descending=True),
    TaskRunSort.EXPECTED_START_TIME_ASC: Order(task_run.c.expected_start_time),
    TaskRunSort.EXPECTED_START_TIME_DESC: Order(task_run.c.expected_start_time, is_descending=True),
    TaskRunSort.NAME_ASC: Order(task_run.c.name),
    TaskRunSort.NAME_DESC: Order(task_run.c.name, is_descending=True),
    TaskRunSort.NEXT_SCHEDULED_START_TIME_ASC: Order(task_run.c.next_scheduled_start_time, is_nullable=True),
    TaskRunSort.END_TIME_DESC: Order(task_run.c.end_time, is_descending=True, is_nullable=True),
}
"""The orders of a list. A run gets its expected start with its first state, so no run is without one for long."""
_COLUMNS = [
    *[column for column in task_run.c if column.name not in ("metrics", "parent_task_run_id", "task_name")],
    # The row of the run has the others.
    *[task_run_state.c[name].label(STATE_PREFIX + name) for name in ("message", "state_details", "data")],
]


def read(connection: Connection, task_run_id: UUID, *, now: datetime) -> TaskRun:
    """Return a task run.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select_task_runs().where(task_run.c.id == task_run_id)).first()
    if row is None:
        raise ObjectNotFound("task run", task_run_id)
    return task_run_answer(row, now=now)


def read_many(
    connection: Connection, dialect: Dialect, filters: Filters, page: Page, *, sort: TaskRunSort, now: datetime
) -> bytes:
    """Return the JSON list of the task runs that filters take; see `served_flow_runs.read_many`.

    Raises:
        ObjectNotFound: there is no task run with which the page before ended.
    """
    order = ORDERS[sort]
    # First the ids alone: whatever has to be sorted is narrow.
    found: Select[Any] = select(task_run.c.id).where(*of_task_runs(dialect, filters))
    found = page.of(connection, found, order, task_run.c.id, "task run")
    condition = task_run.c.id.in_(found.correlate(None))
    return task_runs_body(connection, lambda query: ordered(query.where(condition), order, task_run.c.id), now=now)


def count(connection: Connection, dialect: Dialect, filters: Filters) -> int:
    """Count the task runs that filters take."""
    query = select(func.count()).select_from(task_run).where(*of_task_runs(dialect, filters))
    return connection.execute(query).scalar_one()


def select_task_runs() -> Select[Any]:
    """Return the query for task runs with their states, as `answers.task_run_answer` takes its rows."""
    joined = task_run.outerjoin(
        task_run_state,
        (task_run_state.c.task_run_id == task_run.c.id) & (task_run_state.c.id == task_run.c.state_id),
    )
    return select(*_COLUMNS).select_from(joined)
