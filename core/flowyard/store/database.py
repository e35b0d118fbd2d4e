"""An opened database: connections to it, transactions in it, and its schema brought up to date."""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from flowyard.exceptions import BackendUnavailable
from flowyard.store import versions
from flowyard.store.dialects import Dialect, dialect_of
from flowyard.store.plain import PlainConnection

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection, Engine

    from flowyard.store.bells import Bell

_OPENING_SECONDS = 60.0


class Database:
    """The state database of this process. Made by `open_database`; thread-safe."""

    def __init__(self, dialect: Dialect, *, echo: bool = False) -> None:
        self.dialect = dialect
        self.where = dialect.where
        self.file = dialect.file
        self.is_in_memory = dialect.is_in_memory
        """There is one connection only, which all threads must take turns with."""
        self._echo = echo
        self._idle: deque[PlainConnection] = deque()
        self._is_closed = False

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's side of it, for reading. Loads SQLAlchemy."""
        return self.dialect.engine()

    @cached_property
    def bell(self) -> Bell:
        """What tells processes that slots of concurrency limits were freed."""
        return self.dialect.bell()

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What the database's driver can raise, and SQLAlchemy if it is in use."""
        core = sys.modules.get("sqlalchemy.exc")
        return (self.dialect.driver_error,) if core is None else (self.dialect.driver_error, core.SQLAlchemyError)

    def connect(self) -> PlainConnection:
        """Return a connection for SQL text, in no transaction; whoever has it closes it."""
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return PlainConnection(
            self.dialect.connect(), self.dialect, is_shared=self.dialect.is_in_memory, is_logged=self._echo
        )

    @contextmanager
    def plain_reading(self) -> Generator[PlainConnection]:
        """Lend a connection for SQL text that sees one state of the database."""
        connection = self.connect()
        try:
            self.dialect.begin_read(connection)
            yield connection
            connection.rollback()
        except BaseException:
            connection.close()
            raise
        self._keep(connection)

    @contextmanager
    def plain_writing(self, *, is_durable: bool = True) -> Generator[PlainConnection]:
        """Lend a connection for SQL text in a write transaction, committed at the end of the block."""
        connection = self.connect()
        try:
            self.dialect.begin_write(connection, is_durable=is_durable)
            yield connection
            connection.commit()
        except BaseException:
            connection.close()
            raise
        self._keep(connection)

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """Lend a connection of SQLAlchemy that sees one consistent state of the database."""
        engine = self.engine
        pool = engine.pool
        try:
            with engine.connect() as connection, connection.begin():
                yield connection
        finally:
            if self._is_closed:
                pool.dispose()

    @contextmanager
    def writing(self, *, is_durable: bool = True) -> Generator[Connection]:
        """Lend a connection of SQLAlchemy in a write transaction, committed at the end of the block."""
        _ = self.engine  # loaded before the transaction begins: others wait for its end
        with self.plain_writing(is_durable=is_durable) as connection:
            yield connection.core

    def _keep(self, connection: PlainConnection) -> None:
        """Keep a connection for the next who needs one: opening is followed by reading, and reading by writing."""
        if self._idle:
            connection.close()
            return
        self._idle.append(connection)
        if self._is_closed:  # by another thread, while this one was lent
            self._close_idle()

    def unavailable(self, error: BaseException) -> BackendUnavailable:
        """Return the error that tells a user why the database cannot be used, and what to do."""
        return self.dialect.unavailable(error)

    def close(self) -> None:
        """Close every connection that is not lent; those that are will be when they come back."""
        self._is_closed = True
        self._close_idle()
        self.dialect.close()

    def _close_idle(self) -> None:
        with contextlib.suppress(IndexError):  # another thread takes from it too
            while True:
                self._idle.pop().close()

    def forget_connections(self) -> None:
        """Let go of the connections without closing them: they belong to the parent of this forked process."""
        self._idle.clear()
        self.dialect.forget_connections()


def connect_database(url: str, *, connect_timeout: float | None = None, echo: bool = False) -> Database:
    """Return a database without looking at its schema, for the commands that manage it.

    Raises:
        BackendUnavailable: the folder, the file or the server cannot be used.
    """
    database = Database(dialect_of(url, connect_timeout=connect_timeout, echo=echo), echo=echo)
    if database.file is not None:
        try:
            database.file.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            cause = f"{error.filename} cannot be a folder: a file is there, or on the way to it"
            advice = "move that file away, or set FLOWYARD_HOME to another place"
            raise BackendUnavailable(database.where, cause, advice) from error
        except OSError as error:
            raise database.unavailable(error) from error
    return database


def open_database(
    url: str, *, connect_timeout: float | None = None, echo: bool = False, migrate: bool = True
) -> Database:
    """Open a database and bring its schema up to date.

    Any number of processes can do this at once with a database that does not exist yet.

    Args:
        url: see `urls.normalize_url`.
        connect_timeout: seconds that a connection to a server may take.
        echo: log every statement.
        migrate: upgrade an older schema; otherwise it is an error.

    Raises:
        BackendUnavailable: the database cannot be opened, is damaged, or has a newer schema.
    """
    database = connect_database(url, connect_timeout=connect_timeout, echo=echo)
    deadline = time.monotonic() + _OPENING_SECONDS
    pause = 0.005
    while True:
        try:
            if not versions.is_current(database):
                # By name: the tables are known to SQLAlchemy, and only those that must be made or changed need it.
                importlib.import_module("flowyard.store.schema").ensure(database, migrate=migrate)
        except (*database.errors, OSError) as error:
            # Changing a new file to WAL mode is refused at once, whatever the busy timeout, while others open it.
            is_race = database.dialect.name == "sqlite" and "locked" in str(getattr(error, "orig", error))
            if not is_race or time.monotonic() > deadline:
                database.close()
                raise database.unavailable(error) from error
            time.sleep(pause)
            pause = min(pause * 2, 0.25)
        except BackendUnavailable:
            database.close()
            raise
        else:
            return database
