"""The newest flow runs of a filter, looked for among the newest first."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.engine import Connection

from flowyard.schemas.api.filters import FlowRunFilter
from flowyard.schemas.api.sorting import FlowRunSort
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import State, StateType
from flowyard.services.reported_flow_runs import create_flow_run
from flowyard.store import flows, served_flow_runs
from flowyard.store.database import Database, open_database
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.related import Filters
from flowyard.store.flow_runs import Origin
from flowyard.store.ordering import Page

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SHARES = {"always": 1.0, "often": 0.3, "seldom": 0.03, "rare": 0.004, "never": 0.0}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, list[FlowRun]]]:
    """A database of flow runs, and these, the newest first."""
    database = open_database(f"sqlite:///{tmp_path_factory.mktemp('newest')}/flowyard.db")
    chance = random.Random(5)
    runs: list[FlowRun] = []
    with database.plain_writing() as connection:
        flow_id = flows.register(connection, "flow", NOW)
        for number in range(1_000):
            start = NOW + timedelta(seconds=chance.randrange(700))  # some start at once
            tags = [tag for tag, share in SHARES.items() if chance.random() < share]
            run = FlowRun(flow_id, f"run-{number}", tags=tags, expected_start_time=start)
            create_flow_run(connection, run, State(StateType.COMPLETED, timestamp=start), Origin())
            runs.append(run)
    yield database, sorted(runs, key=lambda run: (run.expected_start_time, run.id.int), reverse=True)
    database.close()


def listed(connection: Connection, dialect: Dialect, tag: str, page: Page) -> list[UUID]:
    where = FlowRunFilter.model_validate({"tags": {"all_": [tag]}, "state": {"type": {"any_": ["COMPLETED"]}}})
    found = served_flow_runs.read_many(
        connection, dialect, Filters(flow_runs=where), page, sort=FlowRunSort.START_TIME_DESC, now=NOW
    )
    return [UUID(run["id"]) for run in json.loads(found)]


@pytest.mark.parametrize("rare", [0, 50])
@pytest.mark.parametrize("looked", [20, 5_000])
@pytest.mark.parametrize("tag", SHARES)
def test_pages_are_those_of_the_whole_list(
    filled: tuple[Database, list[FlowRun]], monkeypatch: pytest.MonkeyPatch, tag: str, looked: int, rare: int
) -> None:
    database, runs = filled
    monkeypatch.setattr(served_flow_runs, "_RARE", rare)
    monkeypatch.setattr(served_flow_runs, "_FIRST_LOOK", looked)
    monkeypatch.setattr(served_flow_runs, "_MOST_LOOK", 10 * looked)
    wanted = [run.id for run in runs if tag in run.tags]
    with database.engine.connect() as connection:
        for offset in (0, 7, 300):
            assert listed(connection, database.dialect, tag, Page(10, offset)) == wanted[offset : offset + 10]
        pages: list[UUID] = []
        while found := listed(connection, database.dialect, tag, Page(60, after=pages[-1] if pages else None)):
            pages += found
    assert pages == wanted
