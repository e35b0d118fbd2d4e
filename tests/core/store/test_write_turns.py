"""Processes that share a file take turns at writing: who waits looks every few milliseconds, and not for ever."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from flowyard.store.dialects import SQLite
from flowyard.store.plain import PlainConnection

DEADLINE = 90.0


def connected(file: Path, timeout: float) -> PlainConnection:
    dialect = SQLite(str(file), file=file, where=f"sqlite:///{file}", options={"timeout": timeout})
    return PlainConnection(dialect.connect(), dialect)


def begun(connection: PlainConnection) -> list[str]:
    """Return the list that fills with the attempts of a connection to get the write lock."""
    found: list[str] = []
    assert isinstance(connection.driver, sqlite3.Connection)
    connection.driver.set_trace_callback(lambda text: found.append(text) if text.startswith("BEGIN") else None)
    return found


@pytest.mark.parametrize("timeout", [0.0, 0.004, 0.2])
def test_who_gets_no_turn_in_time_is_told(tmp_path: Path, timeout: float) -> None:
    with connected(tmp_path / "a.db", 60.0) as first, connected(tmp_path / "a.db", timeout) as second:
        first.dialect.begin_write(first, is_durable=False)
        attempts = begun(second)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            second.dialect.begin_write(second, is_durable=False)
        assert len(attempts) > 2 or timeout < 0.2, "SQLite's own pauses grow to 100 ms"
        assert second.value("PRAGMA busy_timeout") == round(timeout * 1000)


def test_who_waits_goes_on_when_the_other_one_has_committed(tmp_path: Path) -> None:
    with connected(tmp_path / "a.db", 60.0) as first, connected(tmp_path / "a.db", DEADLINE) as second:
        first.dialect.begin_write(first, is_durable=False)
        first.execute("CREATE TABLE fruit (name TEXT)")
        has_begun = threading.Event()

        def write() -> None:
            second.dialect.begin_write(second, is_durable=False)
            second.execute("INSERT INTO fruit VALUES ('plum')")
            second.commit()
            has_begun.set()

        attempts = begun(second)
        thread = threading.Thread(target=write)
        thread.start()
        while len(attempts) < 3:  # it has waited longer than one time
            assert thread.is_alive()
        assert not has_begun.is_set()
        first.commit()
        thread.join(DEADLINE)
        assert first.value("SELECT name FROM fruit") == "plum"
