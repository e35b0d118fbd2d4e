"""Runs counted by state, over time and in all: what charts show. Nothing is counted in Python."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Table, case, func, select
from sqlalchemy.engine import Connection

from flowyard.schemas.api.base import Operator
from flowyard.schemas.api.charts import (
    CountByState,
    HistoryResponse,
    HistoryResponseState,
    StateCount,
    TaskCount,
    TaskRunCount,
)
from flowyard.schemas.states import StateType
from flowyard.store.dialects import Dialect
from flowyard.store.encoding import duration_to_microseconds, from_microseconds, to_microseconds
from flowyard.store.filtering.conditions import Condition, one_of
from flowyard.store.filtering.related import Filters, named_flow_runs, of_flow_runs, of_task_runs, says_only
from flowyard.store.filtering.task_runs import task_run_condition
from flowyard.store.interval_counts import (
    MOST_COUNTS,
    IntervalCount,
    Intervals,
    State,
    counted,
    lateness_of,
    micros,
    run_time_of,
    states_of_flow_runs,
    states_of_task_runs,
)
from flowyard.store.tables import flow_run, rollup, task_run

_COMPLETED, _FAILED = StateType.COMPLETED.value, (StateType.FAILED.value, StateType.CRASHED.value)
_BUCKETS = 20


def flow_run_history(
    connection: Connection,
    dialect: Dialect,
    filters: Filters,
    *,
    start: datetime,
    step: timedelta,
    bins: int,
    now: datetime,
) -> list[HistoryResponse]:
    """Return how many flow runs were expected to start in each interval, by the state they are in."""
    where = filters.flow_runs
    states = None
    # PostgreSQL has an index of tags alone: what it finds there are few runs, or so many that to sort them is quicker.
    indexed = ("state", "expected_start_time", *(() if dialect.has_tag_index else ("tags",)))
    if filters == Filters(flow_runs=where) and says_only(where, *indexed):
        of_states = where.state if where is not None and where.operator is Operator.and_ else None
        states = states_of_flow_runs(connection, of_states)
    intervals = Intervals(to_microseconds(start), duration_to_microseconds(step), bins)
    return _history(connection, flow_run, list(of_flow_runs(dialect, filters)), states, intervals, now=now)


def task_run_history(
    connection: Connection,
    dialect: Dialect,
    filters: Filters,
    *,
    start: datetime,
    step: timedelta,
    bins: int,
    now: datetime,
) -> list[HistoryResponse]:
    """Return how many task runs were expected to start in each interval, by the state they are in."""
    flow_run_ids = named_flow_runs(replace(filters, task_runs=None))
    is_indexed = flow_run_ids is not None and says_only(filters.task_runs, "state")
    states = states_of_task_runs(connection, flow_run_ids) if flow_run_ids is not None and is_indexed else None
    intervals = Intervals(to_microseconds(start), duration_to_microseconds(step), bins)
    return _history(connection, task_run, _of_task_runs(dialect, filters), states, intervals, now=now)


def _history(
    connection: Connection,
    table: Table,
    conditions: Sequence[Condition],
    states: Sequence[State] | None,
    intervals: Intervals,
    *,
    now: datetime,
) -> list[HistoryResponse]:
    """Count runs by interval and state; `states` are those that there are, if an index can count them."""
    present = to_microseconds(now)
    if not intervals.number:
        return []
    if states is not None and len(states) * intervals.number <= MOST_COUNTS:
        counts = counted(connection, table, conditions, states, intervals, now=present)
    else:
        counts = _sorted_counts(connection, table, conditions, intervals, now=present)
    found: list[list[HistoryResponseState]] = [[] for _ in range(intervals.number)]
    for one in counts:
        found[one.interval].append(
            HistoryResponseState(
                state_type=StateType(one.state_type),
                state_name=one.state_name,
                count_runs=one.runs,
                sum_estimated_run_time=timedelta(microseconds=one.run_time),
                sum_estimated_lateness=timedelta(microseconds=one.lateness),
            )
        )
    ends = [from_microseconds(intervals.begin + number * intervals.width) for number in range(intervals.number + 1)]
    return [
        HistoryResponse(interval_start=ends[number], interval_end=ends[number + 1], states=states)
        for number, states in enumerate(found)
    ]


def _sorted_counts(
    connection: Connection, table: Table, conditions: Sequence[Condition], intervals: Intervals, *, now: int
) -> list[IntervalCount]:
    begin, width, number = intervals
    query = (
        select(
            ((micros(table, "expected_start_time") - begin) // width).label("bin"),
            table.c.state_type,
            table.c.state_name,
            func.count().label("runs"),
            func.sum(run_time_of(table, now)).label("run_time"),
            func.sum(lateness_of(table, now)).label("lateness"),
        )
        .where(
            table.c.expected_start_time >= from_microseconds(begin),
            table.c.expected_start_time < from_microseconds(begin + number * width),
            table.c.state_type.is_not(None),
            *conditions,
        )
        # By name: PostgreSQL takes the same expression with other placeholders for another one.
        .group_by("bin", table.c.state_type, table.c.state_name)
        .order_by("bin", table.c.state_type, table.c.state_name)
    )
    return [
        IntervalCount(row.bin, row.state_type, row.state_name, row.runs, int(row.run_time or 0), int(row.lateness or 0))
        for row in connection.execute(query)
    ]


def average_lateness(connection: Connection, dialect: Dialect, filters: Filters, *, now: datetime) -> float | None:
    """Return how many seconds later than expected flow runs started on average; None when there are none."""
    late = func.avg(lateness_of(flow_run, to_microseconds(now)))
    found = connection.execute(select(late).where(*of_flow_runs(dialect, filters))).scalar()
    return None if found is None else float(found) / 1e6


def dashboard_counts(
    connection: Connection, dialect: Dialect, filters: Filters, *, after: datetime, before: datetime
) -> list[TaskRunCount]:
    """Return how many task runs that started in each twentieth of a period have completed and failed."""
    begin = to_microseconds(after)
    width = max((to_microseconds(before) - begin) // _BUCKETS, 1)
    # One number for interval and outcome: SQLite sorts all rows by what it groups them by, and numbers are short. What
    # has another outcome is counted too, because to compare each type twice takes longer.
    kind = task_run.c.state_type
    outcome = case((kind == _COMPLETED, 0), (kind.in_(_FAILED), 1), else_=2)
    number = ((micros(task_run, "start_time") - begin) // width) * 3 + outcome
    query = (
        select(number.label("bin"), func.count().label("runs"))
        .where(
            task_run.c.start_time >= after,
            task_run.c.start_time <= before,
            *_of_task_runs(dialect, filters),
        )
        .group_by("bin")
    )
    counts = [TaskRunCount(completed=0, failed=0) for _ in range(_BUCKETS)]
    # The index of charts has all of it, in a third of the pages.
    with dialect.preferring_indexes(connection):
        rows = connection.execute(query).all()
    for row in rows:
        found: int = row.bin
        # The last moment is the end of the last bucket, not the begin of another.
        bucket = counts[min(found // 3, _BUCKETS - 1)]
        if found % 3 == 0:
            bucket.completed += row.runs
        elif found % 3 == 1:
            bucket.failed += row.runs
    return counts


def _of_task_runs(dialect: Dialect, filters: Filters) -> list[Condition]:
    """Return the conditions on task runs; those of the flow runs that are named, without looking these up."""
    flow_run_ids = named_flow_runs(replace(filters, task_runs=None))
    if flow_run_ids is None:
        return list(of_task_runs(dialect, filters))
    of_runs = one_of(task_run.c.flow_run_id, flow_run_ids)
    return [of_runs] if filters.task_runs is None else [of_runs, task_run_condition(dialect, filters.task_runs)]


def count_flow_runs_by_state(connection: Connection, dialect: Dialect, filters: Filters) -> list[StateCount]:
    """Return how many flow runs there are in each state."""
    # All of them are counted in the index of states.
    reading = nullcontext() if filters != Filters() else dialect.preferring_indexes(connection)
    query = (
        select(flow_run.c.state_type, flow_run.c.state_name, func.count().label("runs"))
        .where(flow_run.c.state_type.is_not(None), *of_flow_runs(dialect, filters))
        .group_by(flow_run.c.state_type, flow_run.c.state_name)
        .order_by(flow_run.c.state_type, flow_run.c.state_name)
    )
    with reading:
        rows = connection.execute(query).all()
    return [StateCount(state_type=StateType(row.state_type), state_name=row.state_name, count=row.runs) for row in rows]


def count_task_runs_by_type(connection: Connection, dialect: Dialect, filters: Filters) -> CountByState:
    """Return how many task runs there are in states of each type."""
    flow_run_ids = named_flow_runs(filters)
    if flow_run_ids is not None:
        # Kept without counting: a flow run can have a hundred thousand task runs.
        query = (
            select(rollup.c.state_type, func.sum(rollup.c["count"]).label("runs"))
            .where(one_of(rollup.c.flow_run_id, flow_run_ids))
            .group_by(rollup.c.state_type)
        )
    else:
        query = (
            select(task_run.c.state_type, func.count().label("runs"))
            .where(task_run.c.state_type.is_not(None), *of_task_runs(dialect, filters))
            .group_by(task_run.c.state_type)
        )
    return CountByState(**{row.state_type: int(row.runs) for row in connection.execute(query)})


def count_task_runs_by_task(connection: Connection, flow_run_id: UUID) -> list[TaskCount]:
    """Return how many task runs of a flow run there are by task and state."""
    total = func.sum(rollup.c["count"]).label("runs")
    keys = (rollup.c.task_name, rollup.c.state_type, rollup.c.state_name)
    query = select(*keys, total).where(rollup.c.flow_run_id == flow_run_id).group_by(*keys).order_by(*keys)
    return [
        TaskCount(
            task_name=row.task_name,
            state_type=StateType(row.state_type),
            state_name=row.state_name,
            count=int(row.runs),
        )
        for row in connection.execute(query.having(total != 0))
    ]
