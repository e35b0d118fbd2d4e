"""Everything in which databases differ, and SQLite's side of it; `postgresql` has the other.

Nothing else in `store` asks which one it is.
"""

from __future__ import annotations

import importlib
import re
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from typing_extensions import override

from flowyard.exceptions import BackendUnavailable
from flowyard.store.plain import Driver, PlainConnection

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.engine import Connection, Engine
    from sqlalchemy.sql import ColumnElement

    from flowyard.store.bells import Bell

    UpsertInsert = sqlite.Insert | postgresql.Insert

_BUSY_TIMEOUT_SECONDS = 60.0
_BUSY_SLICE_SECONDS = 0.008
"""SQLite waits 1, 2 and 5 ms for a lock; the next times, up to 100, are longer than most transactions."""
_SQLITE_BUSY = 5
_OLDEST_SQLITE = (3, 32)
_PLAIN_FILE = re.compile(r"sqlite(?:\+\w+)?:///(?!file:)([^?]*)")


class Dialect(ABC):
    """How one database is opened, read, written to and asked what went wrong."""

    name: str
    where: str
    """The database's URL, without its password."""
    file: Path | None = None
    """The database file; None when there is none."""
    max_parameters: int
    """Parameters that one statement can have."""
    has_native_types: bool
    """The driver knows UUIDs and JSON."""
    has_tag_index: bool
    """It finds the runs of a tag by itself; without that the table `flow_run_tag` has those of flow runs."""
    driver_error: type[Exception]
    """The base of what the driver raises."""
    row_lock: str
    """What follows a SELECT to keep others from changing its rows until the transaction ends."""

    @property
    def is_in_memory(self) -> bool:
        """Say whether there is one connection only, which all threads must take turns with."""
        return False

    @abstractmethod
    def connect(self) -> Driver:
        """Open a connection of the driver, or return the only one there is."""

    @abstractmethod
    def prepare(self, connection: PlainConnection) -> None:
        """Bring a database that was never used into the mode that Flowyard needs; outside of a transaction."""

    @abstractmethod
    def begin_read(self, connection: PlainConnection) -> None:
        """Begin a transaction that sees one state of the database."""

    @abstractmethod
    def begin_write(self, connection: PlainConnection, *, is_durable: bool) -> None:
        """Begin a transaction that can write; with `is_durable` its commit survives a loss of power."""

    @abstractmethod
    def touch(self, connection: PlainConnection) -> None:
        """Write something that means nothing, so that the commit has to make durable what came before it."""

    @abstractmethod
    def lock_schema(self, connection: PlainConnection) -> None:
        """Keep other processes from creating or changing tables until this transaction ends."""

    @abstractmethod
    def lock_slots(self, connection: PlainConnection) -> None:
        """Keep other processes from taking slots or giving them back until this transaction ends."""

    @abstractmethod
    def table_exists(self, connection: PlainConnection, name: str) -> bool:
        """Say whether a table exists; cheap, no error."""

    @abstractmethod
    def driver_text(self, statement: str) -> str:
        """Return a statement with the driver's sign in the place of each `?`."""

    @abstractmethod
    def array_source(self, table: str, columns: Sequence[str]) -> str | None:
        """Return what follows INSERT INTO to take rows from one array for each column; None without arrays."""

    @abstractmethod
    def among(self, ids: Sequence[UUID]) -> tuple[str, list[Any]]:
        """Return what follows a column to say that it is one of these ids, and the values of its signs."""

    @abstractmethod
    def gather(self, driver: Driver) -> AbstractContextManager[object] | None:
        """Return a block whose statements are sent together; None where nothing is gained by it."""

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
    def unavailable(self, error: BaseException) -> BackendUnavailable:
        """Return the error that tells a user why the database cannot be used, and what to do."""

    @abstractmethod
    def bell(self) -> Bell:
        """Return what tells processes that slots of concurrency limits were freed."""

    @abstractmethod
    def announce(self, connection: PlainConnection, lease_ids: Sequence[UUID]) -> None:
        """Let other processes hear from this transaction's commit which requests may be granted now, if it can."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection that is not lent."""

    @abstractmethod
    def forget_connections(self) -> None:
        """Let go of the connections without closing them: they belong to the parent of this forked process."""

    # --- for SQLAlchemy, which is loaded when the first of these is called ------------------------------------

    @abstractmethod
    def engine(self) -> Engine:
        """Return the engine for reading; the first call opens a connection."""

    def attach(self, driver: Driver) -> Connection:
        """Return SQLAlchemy's connection on one of the driver's, inside of the transaction it is in."""
        return importlib.import_module("flowyard.store.attaching").attach(self.engine(), driver)

    @abstractmethod
    def insert(self, table: Table) -> UpsertInsert:
        """Return an INSERT that knows `on_conflict_do_update` and `on_conflict_do_nothing`."""

    @abstractmethod
    def json_array_has(self, column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
        """Return the condition that a JSON array of strings in a column contains a string."""

    @abstractmethod
    def preferring_indexes(self, connection: Connection) -> AbstractContextManager[None]:
        """Let the queries of the block read an index that has all they need, rather than the rows in their order."""

    @abstractmethod
    def json_text(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        """Return the text of a JSON value in a column: a string without its quotes."""

    @abstractmethod
    def json_member(self, column: ColumnElement[Any], key: str) -> ColumnElement[str]:
        """Return the text that a JSON object in a column has under a key; NULL when it has none."""


class SQLite(Dialect):
    """A file in WAL mode: many readers, one writer at a time, who waits for its turn up to a minute.

    Args:
        target: what the driver opens.
        file: the same as a path; None for a database in memory.
        where: the URL.
        options: further options of the driver.
        echo: let SQLAlchemy log its statements.
    """

    name = "sqlite"
    max_parameters = 32_000  # the limit is 32,766
    has_native_types = False
    has_tag_index = False
    driver_error = sqlite3.Error
    row_lock = ""  # BEGIN IMMEDIATE has the same effect

    def __init__(
        self,
        target: str,
        *,
        file: Path | None,
        where: str,
        options: Mapping[str, Any] | None = None,
        echo: bool = False,
    ) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise BackendUnavailable(
                where,
                f"this Python has SQLite {sqlite3.sqlite_version}",
                "Flowyard needs 3.32 (of 2020) or newer: use another build of Python, or PostgreSQL",
            )
        self.where = where
        self.file = file
        self._target = target
        # isolation_level None: the driver begins nothing by itself, `begin_...` does.
        self._options: dict[str, Any] = {
            "timeout": _BUSY_TIMEOUT_SECONDS,
            "cached_statements": 512,
            **(options or {}),
            "isolation_level": None,
            "check_same_thread": False,
        }
        self._echo = echo
        self._only: Driver | None = None
        self._engine: Engine | None = None
        self._opening = threading.Lock()

    @property
    @override
    def is_in_memory(self) -> bool:
        return self.file is None

    @override
    def connect(self) -> Driver:
        if self._only is not None:
            return self._only
        driver = cast("Driver", sqlite3.connect(self._target, **self._options))
        driver.execute("PRAGMA synchronous=NORMAL")
        # A checkpoint every 16 MB instead of 4: a batch of a thousand task runs is 2 MB, and each checkpoint syncs.
        driver.execute("PRAGMA wal_autocheckpoint=4000")
        driver.execute("PRAGMA cache_size=-8000")
        if self.is_in_memory:
            self._only = driver
        return driver

    @override
    def prepare(self, connection: PlainConnection) -> None:
        if connection.value("PRAGMA journal_mode") == "delete":
            connection.execute("PRAGMA journal_mode=WAL")

    @override
    def begin_read(self, connection: PlainConnection) -> None:
        connection.execute("BEGIN")

    @override
    def begin_write(self, connection: PlainConnection, *, is_durable: bool) -> None:
        # In WAL mode FULL syncs the log at each commit, and with it everything that was committed before; NORMAL leaves
        # that to the checkpoint. It cannot be changed inside a transaction.
        if connection.is_durable is not is_durable:
            connection.execute(f"PRAGMA synchronous={'FULL' if is_durable else 'NORMAL'}")
            connection.is_durable = is_durable
        # IMMEDIATE takes the write lock at once, and waits for it; a transaction that begins as a reader and then
        # writes fails with "database is locked" without waiting when another process has written in between.
        timeout = self._options["timeout"]
        if timeout <= _BUSY_SLICE_SECONDS:
            connection.execute("BEGIN IMMEDIATE")
            return
        execute = connection.driver.execute
        execute(f"PRAGMA busy_timeout={round(_BUSY_SLICE_SECONDS * 1000)}")
        try:
            self._begin_in_turn(connection, time.monotonic() + timeout)
        finally:
            execute(f"PRAGMA busy_timeout={round(timeout * 1000)}")

    def _begin_in_turn(self, connection: PlainConnection, deadline: float) -> None:
        """Wait for the write lock in short slices: the processes that share a file pass it on within milliseconds."""
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != _SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            else:
                return

    @override
    def touch(self, connection: PlainConnection) -> None:
        # A transaction that wrote no page syncs nothing. Nobody else uses this number.
        number: int = connection.value("PRAGMA user_version")
        connection.execute(f"PRAGMA user_version={(number + 1) & 0x7FFFFFFF}")

    @override
    def lock_schema(self, connection: PlainConnection) -> None:
        pass  # BEGIN IMMEDIATE has done it

    @override
    def lock_slots(self, connection: PlainConnection) -> None:
        pass  # BEGIN IMMEDIATE has done it

    @override
    def table_exists(self, connection: PlainConnection, name: str) -> bool:
        return connection.value("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", name) is not None

    @override
    def driver_text(self, statement: str) -> str:
        return statement

    @override
    def array_source(self, table: str, columns: Sequence[str]) -> str | None:
        return None

    @override
    def among(self, ids: Sequence[UUID]) -> tuple[str, list[Any]]:
        return f"IN ({', '.join('?' * len(ids))})", [self.native_id(each) for each in ids]

    @override
    def gather(self, driver: Driver) -> AbstractContextManager[object] | None:
        return None

    @override
    def native_id(self, identifier: UUID) -> Any:
        # What `identifier.bytes` does, without the call of the property: 6 times for every task run.
        return identifier.int.to_bytes(16)

    @override
    def native_id_of(self, number: int) -> Any:
        return number.to_bytes(16)

    @override
    def bell(self) -> Bell:
        bells = importlib.import_module("flowyard.store.bells")
        return bells.MuteBell() if self.file is None else bells.SocketBell(self.file)

    @override
    def announce(self, connection: PlainConnection, lease_ids: Sequence[UUID]) -> None:
        pass  # the bell does it

    @override
    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        if self._only is not None:
            self._only.close()

    @override
    def forget_connections(self) -> None:
        self._opening = threading.Lock()
        if self._engine is not None:
            self._engine.dispose(close=False)

    @override
    def engine(self) -> Engine:
        with self._opening:
            engine = self._engine
            if engine is None:
                make: Callable[..., Engine] = _sqlite_core().make_engine
                engine = self._engine = make(self.connect, is_in_memory=self.is_in_memory, echo=self._echo)
            return engine

    @override
    def insert(self, table: Table) -> UpsertInsert:
        return _sqlite_core().insert(table)

    @override
    def json_array_has(self, column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
        return _sqlite_core().json_array_has(column, text)

    @override
    def preferring_indexes(self, connection: Connection) -> AbstractContextManager[None]:
        return nullcontext()  # it does so by itself

    @override
    def json_text(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        return _sqlite_core().json_text(column)

    @override
    def json_member(self, column: ColumnElement[Any], key: str) -> ColumnElement[str]:
        return _sqlite_core().json_member(column, key)

    @override
    def is_transient(self, error: BaseException) -> bool:
        text = str(getattr(error, "orig", error)).lower()
        return any(
            sign in text for sign in ("locked", "busy", "full", "disk i/o error", "unable to open database file")
        )

    @override
    def unavailable(self, error: BaseException) -> BackendUnavailable:
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
        return BackendUnavailable(self.where, cause, advice)


def _sqlite_core() -> Any:
    return importlib.import_module("flowyard.store.sqlite_core")


def dialect_of(url: str, *, connect_timeout: float | None = None, echo: bool = False) -> Dialect:
    """Return how to speak to the database that a URL names.

    Raises:
        BackendUnavailable: it is not the URL of a SQLite or PostgreSQL database.
    """
    # By name: most scripts use a file, and SQLAlchemy takes longer to load than all else that they need of Flowyard.
    plain = _PLAIN_FILE.fullmatch(url)
    if plain is None or plain[1] in ("", ":memory:"):
        return importlib.import_module("flowyard.store.urls").dialect_of(
            url, connect_timeout=connect_timeout, echo=echo
        )
    file = Path(plain[1]).expanduser().absolute()
    return SQLite(str(file), file=file, where=f"sqlite:///{plain[1]}", echo=echo)
