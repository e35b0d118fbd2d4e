"""Tags are found whatever characters they and their neighbours have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import column as column_of
from sqlalchemy import func, select, values

from flowyard.schemas.runs import FlowRun, utcnow
from flowyard.store import flow_runs, flows, queries, schema
from flowyard.store.database import Database, open_database
from flowyard.store.flow_runs import Origin
from flowyard.store.plain import PlainConnection
from flowyard.store.tables import flow_run_tag
from flowyard.store.types import Json

tags = st.text('",[]\\aä', max_size=4)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    is_file = request.param == "sqlite"
    opened = open_database(f"sqlite:///{tmp_path}/flowyard.db" if is_file else request.getfixturevalue("postgres_url"))
    yield opened
    opened.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(there=st.lists(tags, max_size=4), wanted=tags)
def test_a_tag_is_found_where_it_is_and_nowhere_else(database: Database, there: list[str], wanted: str) -> None:
    row: Any = values(column_of("tags", Json()), name="row").data([(there,)]).cte("row")
    with database.engine.connect() as connection:
        has = database.dialect.json_array_has(row.c.tags, wanted)
        assert connection.execute(select(func.count()).select_from(row).where(has)).scalar_one() == (wanted in there)


WAYS: dict[str, Callable[[PlainConnection, FlowRun], object]] = {
    "in a process": flow_runs.insert_flow_run,
    "on a server": lambda connection, run: flow_runs.insert_served(connection, [(run, Origin())]),
    "once": lambda connection, run: flow_runs.insert_once(connection, run, Origin()),
}


def make_run(database: Database, tags: list[str], *, way: str = "in a process") -> UUID:
    with database.plain_writing() as connection:
        run = FlowRun(flows.register(connection, "flow", utcnow()), "run", tags=tags)
        WAYS[way](connection, run)
    return run.id


def kept_tags(database: Database) -> set[tuple[str, UUID]]:
    with database.reading() as connection:
        return {(tag, flow_run_id) for tag, flow_run_id in connection.execute(select(flow_run_tag))}


@pytest.mark.parametrize("way", WAYS)
def test_sqlite_keeps_the_runs_of_a_tag(tmp_path: Path, way: str) -> None:
    database = open_database(f"sqlite:///{tmp_path}/flowyard.db")
    first, second = make_run(database, ["a", 'q"', "a"], way=way), make_run(database, ["a"], way=way)
    make_run(database, [])
    assert kept_tags(database) == {("a", first), ('q"', first), ("a", second)}
    with database.plain_writing() as connection:
        flow_runs.change(connection, first, {"tags": ["ä", "a"]})
        flow_runs.change_columns(connection, second, {"tags": []}, now=utcnow())
    assert kept_tags(database) == {("a", first), ("ä", first)}
    with database.writing() as connection:
        queries.flow_runs.delete_flow_run(connection, first)
    assert kept_tags(database) == set()
    database.close()


def test_the_runs_of_a_tag_are_known_of_a_database_that_was_older(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/flowyard.db")
    run = make_run(database, ["a", "b"])
    make_run(database, [])
    schema.downgrade(database, "0010")
    schema.upgrade(database)
    assert kept_tags(database) == {("a", run), ("b", run)}
    database.close()
