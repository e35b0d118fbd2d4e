"""Both ways of reading the task runs of a flow run give the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from flowyard.schemas.filters import TaskRunFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import StateType
from flowyard.store import flow_task_runs, task_runs
from flowyard.store.database import Database, open_database
from flowyard.store.tables import task_run, task_run_state

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
    else:
        url = "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/flowyard.db"
    opened = open_database(url)
    yield opened
    opened.close()


def row(flow_run_id: UUID, **values: Any) -> dict[str, Any]:
    return {
        "id": new_id(),
        "flow_run_id": flow_run_id,
        "task_key": "add-1",
        "dynamic_key": "0",
        "task_name": "add",
        "name": "add-0",
        "tags": [],
        "empirical_policy": {},
        "task_inputs": {},
        "created": NOW,
        "updated": NOW,
        "flow_run_run_count": 1,
        "run_count": 0,
        "total_run_time": timedelta(0),
        **values,
    }


def facts(run: TaskRun) -> dict[str, Any]:
    found = {field.name: getattr(run, field.name) for field in fields(TaskRun) if field.name != "state"}
    if run.state is not None:
        found |= {f"state_{name}": getattr(run.state, name) for name in ("id", "type", "name", "message", "timestamp")}
        found |= {"data": run.state.data, "details": run.state.state_details}
    return found


def test_both_ways_of_reading_the_task_runs_of_a_flow_run_give_the_same(database: Database) -> None:
    flow_run_id = new_id()
    state = {"id": new_id(), "type": StateType.COMPLETED.value, "name": "Cached", "timestamp": NOW, "message": "é"}
    rich = row(
        flow_run_id,
        parent_task_run_id=new_id(),
        task_version="1",
        tags=["a", "b"],
        empirical_policy={"retries": 2, "retry_delay": [1, 2.5], "crash_retries": 1},
        task_inputs={"x": [{"input_type": "task_run", "id": str(new_id())}]},
        cache_key="k",
        cache_expiration=NOW,
        run_count=3,
        state_id=state["id"],
        state_type=state["type"],
        state_name=state["name"],
        state_timestamp=NOW,
        expected_start_time=NOW,
        next_scheduled_start_time=NOW + timedelta(1),
        start_time=NOW,
        end_time=NOW + timedelta(seconds=1),
        total_run_time=timedelta(seconds=1, microseconds=7),
        metrics={"attempts": 1},
    )
    rows = [rich, *(row(flow_run_id, dynamic_key=str(number)) for number in range(5))]
    with database.plain_writing() as connection:
        for values in [*rows, row(new_id())]:
            connection.core.execute(insert(task_run), values)
        connection.core.execute(
            insert(task_run_state),
            {
                **state,
                "task_run_id": rich["id"],
                "state_details": {"cache_key": "k", "transaction": "t"},
                "data": {"type": "reference", "storage_key": "s", "offset": 16},
            },
        )
        where = TaskRunFilter(flow_run_ids=(flow_run_id,))
        for limit, offset in ((100, 0), (2, 1), (2**31 - 1, 5)):
            expected = task_runs.read_many(connection.core, where, limit=limit, offset=offset)
            found = flow_task_runs.read_many(connection, flow_run_id, limit=limit, offset=offset)
            assert [facts(run) for run in found] == [facts(run) for run in expected]
            assert expected


@pytest.mark.parametrize(
    ("where", "is_only"),
    [
        (TaskRunFilter(flow_run_ids=(UUID(int=1),)), True),
        (TaskRunFilter(flow_run_ids=(UUID(int=1), UUID(int=2))), False),
        (TaskRunFilter(flow_run_ids=()), False),
        (TaskRunFilter(), False),
        (TaskRunFilter(flow_run_ids=(UUID(int=1),), names=("a",)), False),
        (TaskRunFilter(flow_run_ids=(UUID(int=1),), state_types=(StateType.FAILED,)), False),
    ],
)
def test_only_a_filter_by_one_flow_run_is_read_so(where: TaskRunFilter, is_only: bool) -> None:
    assert where.only_flow_run_id == (UUID(int=1) if is_only else None)
