from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect

from flowyard.exceptions import BackendUnavailable
from flowyard.store import flows, queries, schema, versions
from flowyard.store.database import Database, connect_database, open_database
from flowyard.store.tables import metadata
from flowyard.store.urls import normalize_url


def describe(database: Database) -> list[str]:
    """Return everything that the database knows about its tables and indexes, but for Alembic's own."""
    with database.reading() as connection:
        if database.dialect.name == "sqlite":
            rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master").all()
        else:
            columns = (
                "SELECT 'column', table_name || '.' || column_name || ' ' || ordinal_position, "
                "data_type || is_nullable || coalesce(column_default, '') FROM information_schema.columns "
                "WHERE table_schema = 'public'"
            )
            indexes = "SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
            rows = connection.exec_driver_sql(f"{columns} UNION ALL {indexes}").all()
    return sorted(re.sub(r"\s+", " ", " ".join(map(str, row))) for row in rows if "alembic_version" not in row[1])


@pytest.fixture(params=["sqlite", "postgresql"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Two databases with nothing in them."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/a.db", f"sqlite:///{tmp_path}/b.db"
    make = request.getfixturevalue("make_postgres_url")
    return make(), make()


def test_tables_made_at_once_are_those_that_the_migrations_make(urls: tuple[str, str]) -> None:
    created, migrated = open_database(urls[0]), connect_database(urls[1])
    assert schema.upgrade(migrated) == (None, versions.CURRENT)
    assert describe(created) == describe(migrated) != []
    created.close()
    migrated.close()


@pytest.mark.parametrize("version", versions.VERSIONS[:-1])
def test_an_older_database_is_upgraded_and_keeps_what_is_in_it(urls: tuple[str, str], version: str) -> None:
    database = connect_database(urls[0])
    assert schema.upgrade(database, version) == (None, version)
    with database.plain_writing() as connection:
        flows.register(connection, "old", datetime.now(UTC))
    database.close()
    database, created = open_database(urls[0]), open_database(urls[1])
    assert versions.is_current(database)
    with database.reading() as connection:
        assert [flow.name for flow in queries.flows.read_many(connection, limit=10, offset=0)] == ["old"]
    assert describe(database) == describe(created)
    database.close()
    created.close()


def test_a_downgrade_to_the_base_leaves_no_table_and_opening_makes_them_again(urls: tuple[str, str]) -> None:
    database = open_database(urls[0])
    assert schema.downgrade(database) == (versions.CURRENT, None)
    with database.reading() as connection:
        assert schema.tables_without_version(connection) == []
    database.close()
    database = open_database(urls[0])
    assert versions.is_current(database)
    database.close()


def test_a_failed_migration_leaves_everything_as_it_was(urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(urls[0])
    before = describe(database)

    def fail(*_: object) -> None:
        raise RuntimeError("power failure")

    monkeypatch.setattr("flowyard.store.schema.read_version", _second(versions.read_version, fail))
    with pytest.raises(RuntimeError, match="power failure"):
        schema.downgrade(database)
    assert describe(database) == before
    database.close()


def _second(first, second):
    calls = [second, first]
    return lambda *arguments: calls.pop()(*arguments)


def test_a_reset_empties_our_tables_and_leaves_others_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/flowyard.db"
    database = open_database(url)
    with database.writing() as connection:
        connection.exec_driver_sql("CREATE TABLE mine (x)")
        connection.exec_driver_sql("INSERT INTO flow VALUES (x'00', 'f', '[]', 1, 1)")
    schema.reset(database)
    ours = ("alembic_version", "flow_run_tag")
    with database.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM flow").scalar() == 0
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, *ours, "mine"}
    database.close()


def test_a_newer_schema_is_refused_with_both_versions(urls: tuple[str, str]) -> None:
    database = open_database(urls[0])
    with database.writing() as connection:
        schema.stamp(connection, "9999")
    database.close()
    with pytest.raises(BackendUnavailable, match=rf"'9999'.*{versions.CURRENT}.*upgrade Flowyard"):
        open_database(urls[0])


def test_an_older_schema_is_refused_when_it_must_not_be_migrated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/flowyard.db"
    open_database(url).close()
    made = versions.CURRENT
    monkeypatch.setattr(versions, "CURRENT", "9999")
    with pytest.raises(BackendUnavailable, match=rf"version {made}.*needs 9999.*flowyard database upgrade"):
        open_database(url, migrate=False)


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_file_that_is_no_database_is_refused_with_a_way_out(tmp_path: Path, size: int) -> None:
    file = tmp_path / "flowyard.db"
    file.write_bytes(os.urandom(size))
    with pytest.raises(BackendUnavailable, match=r"flowyard\.db.*not a database.*move it away"):
        open_database(f"sqlite:///{file}")


def test_a_damaged_database_is_refused_with_a_way_out(tmp_path: Path) -> None:
    file = tmp_path / "flowyard.db"
    open_database(f"sqlite:///{file}").close()
    with file.open("r+b") as opened:
        opened.seek(100)
        opened.write(b"\xff" * 4000)
    with pytest.raises(BackendUnavailable, match=r"malformed.*move it away"):
        open_database(f"sqlite:///{file}")


def test_a_home_that_is_a_file_is_refused_with_a_way_out(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("")
    with pytest.raises(BackendUnavailable, match=r"home cannot be a folder: a file is there.*FLOWYARD_HOME"):
        open_database(f"sqlite:///{home}/flowyard.db")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="unable to open database file"):
        open_database(f"sqlite:///{tmp_path}")


def test_a_server_that_does_not_answer_is_refused_without_its_password() -> None:
    with pytest.raises(BackendUnavailable, match="start the server") as caught:
        open_database("postgresql+asyncpg://me:secret@127.0.0.1:1/nothing")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("sqlite+aiosqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("postgresql+asyncpg://u@h:5/d", "postgresql+psycopg://u@h:5/d"),
        ("postgresql://u@h/d?sslmode=require", "postgresql+psycopg://u@h/d?sslmode=require"),
        ("postgres://u@h/d", "postgresql+psycopg://u@h/d"),
    ],
)
def test_urls_written_for_other_drivers_are_taken(given: str, used: str) -> None:
    assert normalize_url(given).render_as_string().replace("%3A", ":") == used


@pytest.mark.parametrize("url", ["mysql://h/d", "not a url", ""])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(BackendUnavailable, match="FLOWYARD_API_DATABASE_CONNECTION_URL"):
        normalize_url(url)


@pytest.mark.parametrize("module", ["alembic", "sqlalchemy.dialects.postgresql", "psycopg"])
def test_an_up_to_date_database_is_opened_without_what_it_does_not_need(tmp_path: Path, module: str) -> None:
    code = (
        "import sys; import flowyard.local; from flowyard.store.database import open_database;"
        f"[open_database('sqlite:///{tmp_path}/flowyard.db').close() for _ in range(2)];"
        f"print('{module}' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_database_is_in_wal_mode_and_clustered(tmp_path: Path) -> None:
    open_database(f"sqlite:///{tmp_path}/flowyard.db").close()
    connection = sqlite3.connect(tmp_path / "flowyard.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'task_run_state'").fetchone()[0]
    connection.close()
    assert sql.strip().endswith("WITHOUT ROWID")
