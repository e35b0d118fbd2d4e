"""Runs counted by state, over time and in all: what charts show. Nothing is counted in Python."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Table, case, func, select, type_coerce
from sqlalchemy.engine import Connection

from flowyard.schemas.api.charts import (
    CountByState,
    HistoryResponse,
    HistoryResponseState,
    StateCount,
    TaskCount,
    TaskRunCount,
)
from flowyard.schemas.states import FINAL_TYPES, StateType
from flowyard.store.dialects import Dialect
from flowyard.store.encoding import duration_to_microseconds, from_microseconds, to_microseconds
from flowyard.store.filtering.conditions import Condition
from flowyard.store.filtering.related import Filters, of_flow_runs, of_task_runs
from flowyard.store.tables import flow_run, rollup, task_run

_FINAL = [kind.value for kind in FINAL_TYPES]
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
    return _history(connection, flow_run, of_flow_runs(dialect, filters), start=start, step=step, bins=bins, now=now)


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
    return _history(connection, task_run, of_task_runs(dialect, filters), start=start, step=step, bins=bins, now=now)


def _history(
    connection: Connection,
    table: Table,
    conditions: Iterable[Condition],
    *,
    start: datetime,
    step: timedelta,
    bins: int,
    now: datetime,
) -> list[HistoryResponse]:
    begin, width = to_microseconds(start), duration_to_microseconds(step)
    present = to_microseconds(now)
    query = (
        select(
            ((_micros(table, "expected_start_time") - begin) // width).label("bin"),
            table.c.state_type,
            table.c.state_name,
            func.count().label("runs"),
            func.sum(_run_time(table, present)).label("run_time"),
            func.sum(_lateness(table, present)).label("lateness"),
        )
        .where(
            table.c.expected_start_time >= start,
            table.c.expected_start_time < from_microseconds(begin + bins * width),
            table.c.state_type.is_not(None),
            *conditions,
        )
        # By name: PostgreSQL takes the same expression with other placeholders for another one.
        .group_by("bin", table.c.state_type, table.c.state_name)
        .order_by("bin", table.c.state_type, table.c.state_name)
    )
    states: list[list[HistoryResponseState]] = [[] for _ in range(bins)]
    for row in connection.execute(query):
        number: int = row.bin
        states[number].append(
            HistoryResponseState(
                state_type=StateType(row.state_type),
                state_name=row.state_name,
                count_runs=row.runs,
                sum_estimated_run_time=timedelta(microseconds=int(row.run_time or 0)),
                sum_estimated_lateness=timedelta(microseconds=int(row.lateness or 0)),
            )
        )
    return [
        HistoryResponse(interval_start=start + number * step, interval_end=start + (number + 1) * step, states=found)
        for number, found in enumerate(states)
    ]


def average_lateness(connection: Connection, dialect: Dialect, filters: Filters, *, now: datetime) -> float | None:
    """Return how many seconds later than expected flow runs started on average; None when there are none."""
    late = func.avg(_lateness(flow_run, to_microseconds(now)))
    found = connection.execute(select(late).where(*of_flow_runs(dialect, filters))).scalar()
    return None if found is None else float(found) / 1e6


def dashboard_counts(
    connection: Connection, dialect: Dialect, filters: Filters, *, after: datetime, before: datetime
) -> list[TaskRunCount]:
    """Return how many task runs that started in each twentieth of a period have completed and failed."""
    begin = to_microseconds(after)
    width = max((to_microseconds(before) - begin) // _BUCKETS, 1)
    has_failed = task_run.c.state_type.in_([StateType.FAILED.value, StateType.CRASHED.value])
    query = (
        select(
            ((_micros(task_run, "start_time") - begin) // width).label("bin"),
            func.sum(case((task_run.c.state_type == StateType.COMPLETED.value, 1), else_=0)).label("completed"),
            func.sum(case((has_failed, 1), else_=0)).label("failed"),
        )
        .where(task_run.c.start_time >= after, task_run.c.start_time <= before, *of_task_runs(dialect, filters))
        .group_by("bin")
    )
    counts = [TaskRunCount(completed=0, failed=0) for _ in range(_BUCKETS)]
    for row in connection.execute(query):
        # The last moment is the end of the last bucket, not the begin of another.
        number: int = row.bin
        bucket = counts[min(number, _BUCKETS - 1)]
        bucket.completed += int(row.completed)
        bucket.failed += int(row.failed)
    return counts


def count_flow_runs_by_state(connection: Connection, dialect: Dialect, filters: Filters) -> list[StateCount]:
    """Return how many flow runs there are in each state."""
    query = (
        select(flow_run.c.state_type, flow_run.c.state_name, func.count().label("runs"))
        .where(flow_run.c.state_type.is_not(None), *of_flow_runs(dialect, filters))
        .group_by(flow_run.c.state_type, flow_run.c.state_name)
        .order_by(flow_run.c.state_type, flow_run.c.state_name)
    )
    return [
        StateCount(state_type=StateType(row.state_type), state_name=row.state_name, count=row.runs)
        for row in connection.execute(query)
    ]


def count_task_runs_by_type(connection: Connection, dialect: Dialect, filters: Filters) -> CountByState:
    """Return how many task runs there are in states of each type."""
    flow_run_ids = _only_flow_run_ids(filters)
    if flow_run_ids is not None:
        # Kept without counting: a flow run can have a hundred thousand task runs.
        query = (
            select(rollup.c.state_type, func.sum(rollup.c["count"]).label("runs"))
            .where(rollup.c.flow_run_id.in_(flow_run_ids))
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


def _only_flow_run_ids(filters: Filters) -> list[UUID] | None:
    """Return the flow runs that filters name, if they say nothing else."""
    where = filters.flow_runs
    if where is None or filters != Filters(flow_runs=where):
        return None
    is_plain = where.id is not None and where.model_dump(exclude={"operator", "id"}, exclude_none=True) == {}
    return where.id.any_ if is_plain and where.id is not None and where.id.not_any_ is None else None


def _micros(table: Table, name: str) -> ColumnElement[Any]:
    return type_coerce(table.c[name], BigInteger)


def _run_time(table: Table, now: int) -> ColumnElement[Any]:
    """Return what `rules.bookkeeping.estimated_run_time` says, in microseconds."""
    since = now - _micros(table, "state_timestamp")
    is_growing = (table.c.state_type == StateType.RUNNING.value) & (since > 0)
    return _micros(table, "total_run_time") + case((is_growing, since), else_=0)


def _lateness(table: Table, now: int) -> ColumnElement[Any]:
    """Return what `rules.bookkeeping.estimated_start_time_delta` says, in microseconds."""
    expected, started = _micros(table, "expected_start_time"), _micros(table, "start_time")
    return case(
        (started > expected, started - expected),
        (started.is_not(None), 0),
        (table.c.state_type.in_(_FINAL), 0),
        (expected < now, now - expected),
        else_=0,
    )
