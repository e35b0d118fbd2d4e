from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Table, insert, select

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.ids import new_id
from flowyard.store import flow_runs, rows
from flowyard.store.bulk import insert_rows, update_rows
from flowyard.store.database import Database, open_database
from flowyard.store.plain import PlainConnection, Savepoint
from flowyard.store.projection import CHANGING, FACTS, LOG, STATE
from flowyard.store.tables import flow, flow_run, flow_run_state, lease, log, task_run, task_run_state
from flowyard.store.types import Duration, Identifier, Json, Timestamp

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
READ_PLAINLY = (flow, flow_run, flow_run_state, lease, task_run, task_run_state)


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
    else:
        url = "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/flowyard.db"
    opened = open_database(url)
    yield opened
    opened.close()


def values(name: str) -> dict[str, object]:
    return {"id": new_id(), "name": name, "tags": ["\x00", "é"], "created": NOW, "updated": NOW}


def test_both_ways_into_the_database_see_one_transaction(database: Database) -> None:
    first, second = values("plain"), values("core")
    with database.plain_writing() as connection:
        connection.insert("flow", first)
        assert connection.core.execute(select(flow.c.id).where(flow.c.name == "plain")).scalar() == first["id"]
        connection.core.execute(insert(flow), second)
        assert len(connection.rows("SELECT * FROM flow")) == 2
    with pytest.raises(ObjectNotFound):
        _write_and_fail(database)
    with database.reading() as connection:
        found = {row.name: row for row in connection.execute(select(flow))}
    assert set(found) == {"plain", "core"}
    assert (found["plain"].id, found["plain"].created) == (first["id"], NOW)


def _write_and_fail(database: Database) -> None:
    with database.plain_writing() as connection:
        connection.insert("flow", values("undone"))
        connection.core.execute(insert(flow), values("undone too"))
        flow_runs.lock(connection, new_id())


def test_both_ways_into_the_database_write_the_same(database: Database) -> None:
    with database.plain_writing() as connection:
        connection.insert("flow", values("plain"))
        connection.core.execute(insert(flow), values("core"))
        one, other = connection.rows("SELECT * FROM flow ORDER BY id")
    assert (one.tags, one.created, one.updated) == (other.tags, other.created, other.updated)
    assert one.tags == ["\N{REPLACEMENT CHARACTER}", "é"]


def test_what_a_savepoint_undoes_is_undone_alone(database: Database) -> None:
    with database.plain_writing() as connection:
        connection.insert("flow", values("before"))
        savepoint = connection.savepoint()
        connection.insert("flow", values("undone"))
        connection.core.execute(insert(flow), values("undone too"))
        savepoint.rollback()
        savepoint = connection.savepoint()
        connection.insert("flow", values("after"))
        savepoint.commit()
    with database.plain_reading() as connection:
        assert {row.name for row in connection.rows("SELECT name FROM flow")} == {"before", "after"}


def test_a_changed_row_is_counted(database: Database) -> None:
    with database.plain_writing() as connection:
        connection.insert("flow", values("a"))
        later = NOW + timedelta(days=1)
        assert connection.update("flow", {"updated": later}, "name = ?", "a") == 1
        assert connection.update("flow", {"updated": later}, "name = ?", "b") == 0
        [row] = connection.rows("SELECT updated FROM flow WHERE name = ?", "a")
        assert row.updated == later
        assert connection.value("SELECT id FROM flow WHERE name = ?", "b") is None


@pytest.mark.parametrize("table", READ_PLAINLY, ids=lambda table: table.name)
def test_the_name_of_a_column_says_what_it_holds(table: Table) -> None:
    said = {Identifier: rows.IDS, Timestamp: rows.TIMES, Duration: rows.DURATIONS, Json: rows.DOCUMENTS}
    for column in table.c:
        kinds = [kind for kind, names in said.items() if column.name in names]
        assert kinds == [kind for kind in said if isinstance(column.type, kind)], column.name


@pytest.mark.parametrize(
    ("table", "columns"),
    [(task_run, (*FACTS, *CHANGING)), (task_run_state, STATE), (log, LOG)],
    ids=["task_run", "task_run_state", "log"],
)
def test_the_journal_writes_every_column(table: Table, columns: tuple[str, ...]) -> None:
    assert sorted(columns) == sorted(table.c.keys())


def test_a_logged_database_logs_the_statements_of_both_ways(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    database = open_database(f"sqlite:///{tmp_path}/flowyard.db", echo=True)
    with caplog.at_level("INFO"), database.plain_reading() as connection:
        connection.rows("SELECT name FROM flow")
        connection.core.execute(select(lease.c.token))
    database.close()
    said = [record.message for record in caplog.records]
    assert any("SELECT name FROM flow" in line for line in said)
    assert any("SELECT lease.token" in line for line in said)


def test_what_is_sent_is_there_for_the_next_statement_and_may_fail_with_it(database: Database) -> None:
    first, second = values("first"), values("second")
    with database.plain_writing() as connection:
        insert_rows(connection, "flow", [first, second])
        assert connection.value("SELECT count(*) FROM flow") == 2
        savepoint = connection.savepoint()
        with pytest.raises(database.errors):
            _send(savepoint, connection, {"id": first["id"], "name": "second"})
        savepoint.rollback()
        update_rows(connection, "flow", [{"id": first["id"], "name": "third"}, {"id": second["id"], "name": "fourth"}])
    with pytest.raises(database.errors), database.plain_writing() as connection:
        update_rows(connection, "flow", [{"id": first["id"], "name": "fourth"}])
    with database.plain_reading() as connection:
        assert [row.name for row in connection.rows("SELECT name FROM flow ORDER BY name")] == ["fourth", "third"]


def _send(savepoint: Savepoint, connection: PlainConnection, row: dict[str, object]) -> None:
    update_rows(connection, "flow", [row])
    savepoint.commit()


def test_what_was_sent_is_undone_with_its_savepoint_whatever_became_of_it(database: Database) -> None:
    with database.plain_writing() as connection:
        savepoint = connection.savepoint()
        insert_rows(connection, "flow", [values("first")])
        savepoint.rollback()
        assert connection.core.execute(select(flow.c.id)).all() == []
