"""Everything in which databases differ, and SQLite's side of it; `postgresql` has the other.

Nothing else in `store` asks which one it is.
"""

from __future__ import annotations

import importlib
import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from sqlalchemy import Table, event, exists, func, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import StaticPool
from sqlalchemy.sql import ColumnElement
from typing_extensions import override

from flowyard.exceptions import BackendUnavailable

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

    UpsertInsert = sqlite.Insert | postgresql.Insert

# Set on the connections that write; what `begin` does depends on it.
WRITES = "flowyard_writes"
_SYNCHRONOUS = "flowyard_synchronous"
_BUSY_TIMEOUT_SECONDS = 60.0
_OLDEST_SQLITE = (3, 32)
_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def normalize_url(url: str) -> URL:
    """Return the SQLAlchemy URL of a database, for the synchronous drivers that Flowyard uses.

    URLs written for Prefect (`sqlite+aiosqlite`, `postgresql+asyncpg`) are taken too.

    Raises:
        BackendUnavailable: it is not the URL of a SQLite or PostgreSQL database.
    """
    advice = (
        "set FLOWYARD_API_DATABASE_CONNECTION_URL to something like 'sqlite:////home/me/flowyard.db' or "
        "'postgresql://user@host/database'"
    )
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BackendUnavailable(url, f"this is not a database URL ({error})", advice) from error
    backend = parsed.drivername.partition("+")[0]
    if backend not in _DRIVERS:
        where = parsed.render_as_string(hide_password=True)
        raise BackendUnavailable(where, f"{backend!r} is neither 'sqlite' nor 'postgresql'", advice)
    return parsed.set(drivername=_DRIVERS[backend])


class Dialect(ABC):
    """How one kind of database is opened, written to and asked what went wrong."""

    name: str
    max_parameters: int
    """Parameters that one statement can have."""
    has_arrays: bool
    """An array can be a parameter, and `unnest` makes rows of it."""

    @abstractmethod
    def create_engine(self, url: URL, *, connect_timeout: float | None, echo: bool) -> Engine:
        """Return an engine; nothing is opened yet."""

    @abstractmethod
    def prepare(self, connection: Connection) -> None:
        """Bring a database that was never used into the mode that Flowyard needs; outside of a transaction."""

    @abstractmethod
    def begin_write(self, connection: Connection, *, is_durable: bool) -> None:
        """Begin a transaction that can write; with `is_durable` its commit survives a loss of power."""

    @abstractmethod
    def touch(self, connection: Connection) -> None:
        """Write something that means nothing, so that the commit has to make durable what came before it."""

    @abstractmethod
    def lock_schema(self, connection: Connection) -> None:
        """Keep other processes from creating or changing tables until this transaction ends."""

    @abstractmethod
    def table_exists(self, connection: Connection, name: str) -> bool:
        """Say whether a table exists; cheap, no error."""

    @abstractmethod
    def insert(self, table: Table) -> UpsertInsert:
        """Return an INSERT that knows `on_conflict_do_update` and `on_conflict_do_nothing`."""

    @abstractmethod
    def json_array_has(self, column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
        """Return the condition that a JSON array of strings in a column contains a string."""

    @abstractmethod
    def native_id(self, identifier: UUID) -> Any:
        """Return an id as the driver takes it, for statements that bypass the column types."""

    @abstractmethod
    def native_id_of(self, number: int) -> Any:
        """Return the id that has these 128 bits, as `native_id` does."""

    @abstractmethod
    def is_transient(self, error: BaseException) -> bool:
        """Say whether the same transaction can succeed when it is tried again a little later."""

    @abstractmethod
    def unavailable(self, where: str, error: BaseException) -> BackendUnavailable:
        """Return the error that tells a user why the database cannot be used, and what to do."""

    def file_of(self, url: URL) -> Path | None:
        """Return the database file; None when there is none."""
        return None


class SQLite(Dialect):
    """A file in WAL mode: many readers, one writer at a time, who waits for its turn up to a minute."""

    name = "sqlite"
    max_parameters = 32_000  # the limit is 32,766
    has_arrays = False

    @override
    def file_of(self, url: URL) -> Path | None:
        database = url.database
        if not database or database == ":memory:" or "mode=memory" in url.render_as_string():
            return None
        return Path(database.removeprefix("file:")).expanduser().absolute()

    @override
    def create_engine(self, url: URL, *, connect_timeout: float | None, echo: bool) -> Engine:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise BackendUnavailable(
                url.render_as_string(),
                f"this Python has SQLite {sqlite3.sqlite_version}",
                "Flowyard needs 3.32 (of 2020) or newer: use another build of Python, or PostgreSQL",
            )
        # isolation_level None: the driver begins nothing by itself, `begin` below does.
        arguments: dict[str, Any] = {
            "timeout": _BUSY_TIMEOUT_SECONDS,
            "isolation_level": None,
            "check_same_thread": False,
            "cached_statements": 512,
        }
        if self.file_of(url) is None:
            engine = create_engine(url, connect_args=arguments, poolclass=StaticPool, echo=echo, hide_parameters=True)
        else:
            engine = create_engine(url, connect_args=arguments, echo=echo, hide_parameters=True)
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    @override
    def prepare(self, connection: Connection) -> None:
        # Through the driver's own cursor: SQLAlchemy would begin a transaction, in which the mode cannot change.
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA journal_mode")
        if cursor.fetchall()[0][0] == "delete":
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.close()

    @override
    def begin_write(self, connection: Connection, *, is_durable: bool) -> None:
        # In WAL mode FULL syncs the log at each commit, and with it everything that was committed before; NORMAL leaves
        # that to the checkpoint. It cannot be changed inside a transaction. SQLAlchemy would begin one.
        wanted = "FULL" if is_durable else "NORMAL"
        if connection.info.get(_SYNCHRONOUS) != wanted:
            cursor = connection.connection.cursor()
            cursor.execute(f"PRAGMA synchronous={wanted}")
            cursor.close()
            connection.info[_SYNCHRONOUS] = wanted
        connection.begin()

    @override
    def touch(self, connection: Connection) -> None:
        # A transaction that wrote no page syncs nothing. Nobody else uses this number.
        number: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
        connection.exec_driver_sql(f"PRAGMA user_version={(number + 1) & 0x7FFFFFFF}")

    @override
    def lock_schema(self, connection: Connection) -> None:
        pass  # BEGIN IMMEDIATE has done it

    @override
    def table_exists(self, connection: Connection, name: str) -> bool:
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return connection.exec_driver_sql(query, (name,)).first() is not None

    @override
    def insert(self, table: Table) -> UpsertInsert:
        return sqlite.insert(table)

    @override
    def json_array_has(self, column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
        items = func.json_each(column).table_valued("value")
        return exists(select(items.c.value).where(items.c.value == text))

    @override
    def native_id(self, identifier: UUID) -> Any:
        # What `identifier.bytes` does, without the call of the property: 6 times for every task run.
        return identifier.int.to_bytes(16)

    @override
    def native_id_of(self, number: int) -> Any:
        return number.to_bytes(16)

    @override
    def is_transient(self, error: BaseException) -> bool:
        text = str(getattr(error, "orig", error)).lower()
        return any(
            sign in text for sign in ("locked", "busy", "full", "disk i/o error", "unable to open database file")
        )

    @override
    def unavailable(self, where: str, error: BaseException) -> BackendUnavailable:
        cause = str(getattr(error, "orig", None) or error)
        text = cause.lower()
        if "not a database" in text or "malformed" in text or "corrupt" in text:
            advice = (
                "the file is damaged or is not a SQLite database: move it away (Flowyard then makes a new one), or try "
                "`sqlite3 FILE .recover` to save what is in it"
            )
        elif "full" in text or "disk i/o error" in text or "no space" in text:
            advice = "make room on the disk that holds it, and see whether that disk is well"
        elif "locked" in text:
            advice = "another program holds a lock on it: end that program"
        else:
            advice = (
                "make the folder writable, or set FLOWYARD_HOME (or FLOWYARD_API_DATABASE_CONNECTION_URL) to a place "
                "that is"
            )
        return BackendUnavailable(where, cause, advice)


def _configure_sqlite(connection: Any, record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    # A checkpoint every 16 MB instead of 4: a batch of a thousand task runs is 2 MB, and each checkpoint syncs.
    cursor.execute("PRAGMA wal_autocheckpoint=4000")
    cursor.execute("PRAGMA cache_size=-8000")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE takes the write lock at once, and waits for it; a transaction that begins as a reader and then
    # writes fails with "database is locked" without waiting when another process has written in between.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def dialect_of(url: URL) -> Dialect:
    """Return how to speak to the database that a normalized URL names."""
    if url.get_backend_name() == "sqlite":
        return SQLite()
    # By name: loading what SQLAlchemy knows of PostgreSQL takes 25 ms that a plain script need not pay.
    return cast("Dialect", importlib.import_module("flowyard.store.postgresql").PostgreSQL())
