"""Flow runs for the REST API: read with filters, in orders, page by page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, and_, false, func, select, type_coerce
from sqlalchemy.engine import Connection, Row
from sqlalchemy.sql import Select
from sqlalchemy.types import NULLTYPE

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.base import Operator
from flowyard.schemas.api.filters import FlowRunFilter
from flowyard.schemas.api.flow_runs import FlowRunResponse
from flowyard.schemas.api.sorting import FlowRunSort
from flowyard.store.answers import Pool, flow_run_answer
from flowyard.store.deployment_tables import work_pool, work_queue
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition
from flowyard.store.filtering.related import Filters, of_flow_runs
from flowyard.store.list_bodies import flow_run_points_body, flow_runs_body
from flowyard.store.ordering import Order, Page, ordered
from flowyard.store.rows import STATE_PREFIX
from flowyard.store.tables import flow_run, flow_run_state, flow_run_tag

_START = func.coalesce(flow_run.c.start_time, flow_run.c.expected_start_time, type_=flow_run.c.start_time.type)
ORDERS = {
    FlowRunSort.ID_DESC: Order(flow_run.c.id, is_descending=True),
    FlowRunSort.START_TIME_ASC: Order(_START),
    FlowRunSort.START_TIME_DESC: Order(_START, is_descending=True),
    FlowRunSort.EXPECTED_START_TIME_ASC: Order(flow_run.c.expected_start_time),
    FlowRunSort.EXPECTED_START_TIME_DESC: Order(flow_run.c.expected_start_time, is_descending=True),
    FlowRunSort.NAME_ASC: Order(flow_run.c.name),
    FlowRunSort.NAME_DESC: Order(flow_run.c.name, is_descending=True),
    FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC: Order(flow_run.c.next_scheduled_start_time, is_nullable=True),
    FlowRunSort.END_TIME_DESC: Order(flow_run.c.end_time, is_descending=True, is_nullable=True),
}
"""The orders of a list. A run gets its expected start with its first state, so no run is without one for long."""
_NEWEST_FIRST = frozenset({FlowRunSort.START_TIME_DESC, FlowRunSort.EXPECTED_START_TIME_DESC})
_FIRST_LOOK = 1_000
_MOST_LOOK = 10_000
_RARE = 2_000
"""A tag of so many flow runs at most is rare: to look at each takes 4 milliseconds."""
_MOST_TAGS = 10
# As it is stored: to read it would be to write it again.
_ID = type_coerce(flow_run.c.id, NULLTYPE)
_COLUMNS = [
    *[column for column in flow_run.c if column.name != "start_info"],
    # The row of the run has the others.
    *[flow_run_state.c[name].label(STATE_PREFIX + name) for name in ("message", "state_details", "data")],
]


def select_flow_runs(*conditions: Condition) -> Select[Any]:
    """Return the query for flow runs with their states, as `answers_of` takes its rows."""
    joined = flow_run.outerjoin(
        flow_run_state,
        (flow_run_state.c.flow_run_id == flow_run.c.id) & (flow_run_state.c.id == flow_run.c.state_id),
    )
    return select(*_COLUMNS).select_from(joined).where(*conditions)


def answers_of(connection: Connection, rows: Iterable[Row[Any]], now: datetime) -> list[FlowRunResponse]:
    """Return the flow runs in rows of `select_flow_runs`."""
    found = list(rows)
    pools = _pools(connection, {row.work_queue_id for row in found if row.work_queue_id is not None})
    return [flow_run_answer(row, pools=pools, now=now) for row in found]


def read(connection: Connection, flow_run_id: UUID, *, now: datetime) -> FlowRunResponse:
    """Return a flow run.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    rows = connection.execute(select_flow_runs(flow_run.c.id == flow_run_id)).all()
    if not rows:
        raise ObjectNotFound("flow run", flow_run_id)
    return answers_of(connection, rows, now)[0]


def read_many(
    connection: Connection, dialect: Dialect, filters: Filters, page: Page, *, sort: FlowRunSort, now: datetime
) -> bytes:
    """Return the JSON list of the flow runs that filters take.

    Args:
        connection: to read with.
        dialect: of the database.
        filters: all of them hold.
        page: which part of them.
        sort: the order; equal ones in the order of their ids.
        now: the present time, for what is still running or late.

    Raises:
        ObjectNotFound: there is no flow run with which the page before ended.
    """
    order = ORDERS[sort]
    conditions = list(of_flow_runs(dialect, filters))
    rare = None if dialect.has_tag_index else _of_rare_tag(connection, filters.flow_runs)
    if rare is not None:
        conditions = [rare, _only_checked(conditions)]
    ids = (
        _among_first(connection, conditions, page, order)
        if sort in _NEWEST_FIRST and conditions and rare is None and not dialect.has_native_types
        else None
    )
    if ids is not None:
        condition = _ID.in_(ids)
    else:
        # First the ids alone, which indexes have: whatever has to be sorted is narrow.
        found = page.of(connection, select(flow_run.c.id).where(*conditions), order, flow_run.c.id, "flow run")
        condition = flow_run.c.id.in_(found.correlate(None))
    return flow_runs_body(
        connection,
        lambda query: ordered(query.where(condition), order, flow_run.c.id),
        pools_of=lambda queue_ids: _pools(connection, queue_ids),
        now=now,
    )


def _among_first(connection: Connection, conditions: Sequence[Condition], page: Page, order: Order) -> list[Any] | None:
    """Return the ids of a page whose rows are among the newest; None when too few of these are wanted.

    A database that does not know that a condition takes nearly half of 100,000 rows sorts all of them for the first
    200: 40 milliseconds instead of 2. To look here in vain takes 1.
    """
    wanted = page.limit + page.offset
    holds = _only_checked(conditions)
    looked = max(_FIRST_LOOK, wanted)
    for is_last in (False, True):
        end = Page(1, looked, page.after).of(connection, select(order.column), order, flow_run.c.id, "flow run")
        last = connection.execute(end).scalar()
        # Those that began together are looked at together. Nothing is newer than a row without a time.
        among = [] if last is None else [order.column >= last]
        query = Page(wanted, after=page.after).of(
            connection, select(_ID).where(*among, holds), order, flow_run.c.id, "flow run"
        )
        found = list(connection.execute(query).scalars())
        if len(found) == wanted or last is None:
            return found[page.offset :]
        needed = looked * wanted * 3 // (2 * len(found)) if found else _MOST_LOOK + 1
        if is_last or needed > _MOST_LOOK:
            break
        looked = needed
    return None


def _of_rare_tag(connection: Connection, where: FlowRunFilter | None) -> Condition | None:
    """Return a condition on flow runs that a filter implies and that few hold, by one of its tags; None without one."""
    if where is None or where.operator is not Operator.and_ or where.tags is None:
        return None
    if where.tags.operator is not Operator.and_ or len(where.tags.all_ or ()) > _MOST_TAGS:
        return None
    for tag in where.tags.all_ or ():
        tagged = select(flow_run_tag.c.flow_run_id).where(flow_run_tag.c.tag == tag)
        few = select(func.count()).select_from(tagged.limit(_RARE + 1).subquery())
        if connection.execute(few).scalar_one() <= _RARE:
            return flow_run.c.id.in_(tagged)
    return None


def _only_checked(conditions: Sequence[Condition]) -> Condition:
    """Return conditions in a form in which SQLite looks for no index for them."""
    return func.coalesce(and_(*conditions), false(), type_=Boolean)


def read_points(
    connection: Connection, dialect: Dialect, filters: Filters, page: Page, *, sort: FlowRunSort, now: datetime
) -> bytes:
    """Return the JSON list of the flow runs that filters take as points of a chart; see `read_many`.

    Raises:
        ObjectNotFound: there is no flow run with which the page before ended.
    """
    order, conditions = ORDERS[sort], list(of_flow_runs(dialect, filters))
    return flow_run_points_body(
        connection,
        lambda query: page.of(connection, query.where(*conditions), order, flow_run.c.id, "flow run"),
        now=now,
    )


def count(connection: Connection, dialect: Dialect, filters: Filters) -> int:
    """Count the flow runs that filters take."""
    query = select(func.count()).select_from(flow_run).where(*of_flow_runs(dialect, filters))
    return connection.execute(query).scalar_one()


def _pools(connection: Connection, queue_ids: set[UUID]) -> dict[UUID, Pool]:
    # Not joined: a page has few queues, and most runs have none.
    if not queue_ids:
        return {}
    joined = work_queue.join(work_pool, work_pool.c.id == work_queue.c.work_pool_id)
    query = select(work_queue.c.id.label("queue_id"), work_pool.c.id, work_pool.c.name).select_from(joined)
    rows = connection.execute(query.where(work_queue.c.id.in_(queue_ids)))
    return {row.queue_id: Pool(row.id, row.name) for row in rows}
