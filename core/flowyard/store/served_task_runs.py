"""Task runs for the REST API: read with filters, in orders, page by page."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, union_all
from sqlalchemy.engine import Connection
from sqlalchemy.sql import Select

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.sorting import TaskRunSort
from flowyard.schemas.api.task_runs import TaskRun
from flowyard.store.answers import task_run_answer
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition
from flowyard.store.filtering.related import Filters, named_flow_runs, of_task_runs
from flowyard.store.interval_counts import states_of_task_runs
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
_INDEXED_IN_STATES = frozenset({TaskRunSort.EXPECTED_START_TIME_ASC, TaskRunSort.EXPECTED_START_TIME_DESC})
_MOST_STATES, _MOST_OF_EACH = 10, 1_000
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
    among = _first_of_each_state(connection, filters, page, order) if sort in _INDEXED_IN_STATES else None
    # First the ids alone: whatever has to be sorted is narrow.
    found: Select[Any] = select(task_run.c.id).where(*(of_task_runs(dialect, filters) if among is None else [among]))
    found = page.of(connection, found, order, task_run.c.id, "task run")
    condition = task_run.c.id.in_(found.correlate(None))
    return task_runs_body(connection, lambda query: ordered(query.where(condition), order, task_run.c.id), now=now)


def _first_of_each_state(connection: Connection, filters: Filters, page: Page, order: Order) -> Condition | None:
    """Return the condition that a task run is among the first of a flow run in its state; None without one.

    Only so many can be on the page, and the index of charts has them in this order: to sort 100,000 takes 30 ms.
    """
    wanted, flow_run_ids = page.limit + page.offset, named_flow_runs(filters)
    if flow_run_ids is None or len(flow_run_ids) != 1 or wanted > _MOST_OF_EACH:
        return None
    states = states_of_task_runs(connection, flow_run_ids)
    if states is None or len(states) > _MOST_STATES:
        return None
    here, first = task_run.c, Page(wanted, after=page.after)
    kinds = [(here.state_type == kind) & (here.state_name == name) for kind, name in states]
    found = [
        first.of(
            connection, select(here.id).where(here.flow_run_id == flow_run_ids[0], of_kind), order, here.id, "task run"
        )
        for of_kind in (here.state_type.is_(None), *kinds)
    ]
    return here.id.in_(union_all(*[select(each.correlate(None).subquery().c.id) for each in found]))


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
