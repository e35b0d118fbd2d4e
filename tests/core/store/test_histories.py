"""Charts count what counting one by one gives, in whichever of their ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, insert
from sqlalchemy.engine import Connection

from flowyard.rules.bookkeeping import estimated_run_time, estimated_start_time_delta
from flowyard.schemas.api.charts import HistoryResponse
from flowyard.schemas.api.filters import FlowRunFilter, TaskRunFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import StateType
from flowyard.store import histories
from flowyard.store.database import Database, open_database
from flowyard.store.filtering.related import Filters
from flowyard.store.tables import flow_run, rollup, task_run

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
STEP, BINS = timedelta(seconds=10), 6
START = NOW - BINS * STEP
COMPLETED = {"state": {"type": {"any_": ["COMPLETED"]}}}
ONE_BY_ONE = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class State(NamedTuple):
    type: StateType
    timestamp: datetime


class Run(NamedTuple):
    """What charts count of a run."""

    state: State | None
    state_name: str
    tags: tuple[str, ...]
    expected_start_time: datetime | None
    start_time: datetime | None
    total_run_time: timedelta


seconds = st.sampled_from([-5.0, 0.0, 0.000001, 3.0, 9.999999, 10.0, 31.5, 59.999999, 60.0, 70.0])
moments = seconds.map(lambda later: START + timedelta(seconds=later))
runs = st.builds(
    Run,
    st.one_of(st.none(), st.builds(State, st.sampled_from(StateType), moments)),
    st.sampled_from(["one", "two"]),
    st.sampled_from([(), ("a",), ("b", "a"), ('b,"a"',)]),
    st.one_of(st.none(), moments),
    st.one_of(st.none(), moments),
    seconds.map(lambda some: timedelta(seconds=max(some, 0.0))),
)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    is_file = request.param == "sqlite"
    opened = open_database(f"sqlite:///{tmp_path}/flowyard.db" if is_file else request.getfixturevalue("postgres_url"))
    yield opened
    opened.close()


def store(connection: Connection, table: Table, some: Sequence[Run], **values: Any) -> None:
    for each in some:
        state = each.state
        own = {
            "id": new_id(),
            "name": "x",
            "tags": list(each.tags),
            "empirical_policy": {},
            "run_count": 1,
            "created": NOW,
            "updated": NOW,
            "expected_start_time": each.expected_start_time,
            "start_time": each.start_time,
            "total_run_time": each.total_run_time,
            **values,
        }
        if state is not None:
            own |= {"state_id": new_id(), "state_type": state.type.value, "state_name": each.state_name}
            own |= {"state_timestamp": state.timestamp}
        connection.execute(insert(table).values(own))


def one_by_one(some: Sequence[Run]) -> list[list[tuple[str, str, int, timedelta, timedelta]]]:
    found: list[list[tuple[str, str, int, timedelta, timedelta]]] = []
    for number in range(BINS):
        begin = START + number * STEP
        groups: dict[tuple[str, str], list[Run]] = {}
        for run in some:
            if run.state and run.expected_start_time and begin <= run.expected_start_time < begin + STEP:
                groups.setdefault((run.state.type.value, run.state_name), []).append(run)
        none = timedelta(0)
        found.append(
            [
                (
                    *key,
                    len(group),
                    sum((estimated_run_time(run, NOW) for run in group), none),
                    sum((estimated_start_time_delta(run, NOW) for run in group), none),
                )
                for key, group in sorted(groups.items())
            ]
        )
    return found


def shown(history: Sequence[HistoryResponse]) -> list[list[tuple[str, str, int, timedelta, timedelta]]]:
    return [
        [
            (
                state.state_type.value,
                state.state_name,
                state.count_runs,
                state.sum_estimated_run_time,
                state.sum_estimated_lateness,
            )
            for state in one.states
        ]
        for one in history
    ]


@ONE_BY_ONE
@given(some=st.lists(runs, max_size=25))
def test_a_history_of_flow_runs_is_what_counting_one_by_one_gives(database: Database, some: list[Run]) -> None:
    cases = [
        (None, some),
        (COMPLETED, [run for run in some if run.state and run.state.type is StateType.COMPLETED]),
        ({"tags": {"all_": ["a"]}}, [run for run in some if "a" in run.tags]),
        # What no index has is counted by sorting.
        ({"name": {"like_": "x"}}, some),
    ]
    with database.engine.connect() as connection:
        store(connection, flow_run, some, flow_id=new_id(), parameters={}, context={}, start_info={})
        for where, taken in cases:
            filters = Filters(flow_runs=None if where is None else FlowRunFilter.model_validate(where))
            history = histories.flow_run_history(
                connection, database.dialect, filters, start=START, step=STEP, bins=BINS, now=NOW
            )
            assert shown(history) == one_by_one(taken)
        connection.rollback()


@ONE_BY_ONE
@given(some=st.lists(runs, max_size=25), others=st.lists(runs, max_size=5))
def test_charts_of_the_task_runs_of_a_flow_run_are_what_counting_one_by_one_gives(
    database: Database, some: list[Run], others: list[Run]
) -> None:
    chosen, other = new_id(), new_id()
    with database.engine.connect() as connection:
        for flow_run_id, its in ((chosen, some), (other, others)):
            store_task_runs(connection, flow_run_id, its)
        completed = [run for run in some if run.state and run.state.type is StateType.COMPLETED]
        of_run = FlowRunFilter.model_validate({"id": {"any_": [chosen]}})
        of_type = TaskRunFilter.model_validate(COMPLETED)
        tagged = TaskRunFilter.model_validate({"tags": {"all_": ["a"]}})
        for where, taken in (
            (Filters(flow_runs=of_run), some),
            (Filters(flow_runs=of_run, task_runs=of_type), completed),
            (Filters(flow_runs=of_run, task_runs=tagged), [run for run in some if "a" in run.tags]),
            (Filters(), [*some, *others]),
        ):
            history = histories.task_run_history(
                connection, database.dialect, where, start=START, step=STEP, bins=BINS, now=NOW
            )
            assert shown(history) == one_by_one(taken)

            end = START + BINS * STEP
            buckets = histories.dashboard_counts(connection, database.dialect, where, after=START, before=end)
            assert [(one.completed, one.failed) for one in buckets] == outcomes(taken, end)
        connection.rollback()


def store_task_runs(connection: Connection, flow_run_id: UUID, some: Sequence[Run]) -> None:
    keys = {"task_key": "x", "dynamic_key": "0", "task_name": "x", "task_inputs": {}, "flow_run_run_count": 1}
    store(connection, task_run, some, flow_run_id=flow_run_id, **keys)
    states = Counter((run.state.type.value, run.state_name) for run in some if run.state)
    for (kind, name), count in states.items():
        row = {"flow_run_id": flow_run_id, "task_name": "x", "state_type": kind, "state_name": name, "count": count}
        connection.execute(insert(rollup).values(row))


def outcomes(some: Sequence[Run], end: datetime) -> list[tuple[int, int]]:
    width = (end - START) // 20
    found = [[0, 0] for _ in range(20)]
    for run in some:
        if run.state and run.start_time and START <= run.start_time <= end:
            number = min((run.start_time - START) // width, 19)
            found[number][0] += run.state.type is StateType.COMPLETED
            found[number][1] += run.state.type in (StateType.FAILED, StateType.CRASHED)
    return [(completed, failed) for completed, failed in found]


def test_a_history_of_many_states_or_intervals_is_counted_by_sorting(database: Database) -> None:
    some = [
        Run(State(StateType.COMPLETED, NOW), f"state {number}", (), START, START, timedelta(number))
        for number in range(60)
    ]
    with database.engine.connect() as connection:
        store(connection, flow_run, some, flow_id=new_id(), parameters={}, context={}, start_info={})
        history = histories.flow_run_history(
            connection, database.dialect, Filters(), start=START, step=STEP, bins=BINS, now=NOW
        )
        assert shown(history) == one_by_one(some)
        none = histories.flow_run_history(
            connection, database.dialect, Filters(), start=START, step=STEP, bins=0, now=NOW
        )
        assert none == []
        connection.rollback()
