"""An opened database: its engine, how to begin transactions in it, and its schema brought up to date."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from flowyard.exceptions import BackendUnavailable
from flowyard.store import schema
from flowyard.store.dialects import WRITES, Dialect, dialect_of, normalize_url

_OPENING_SECONDS = 60.0


class Database:
    """The state database of this process. Made by `open_database`; thread-safe."""

    def __init__(self, engine: Engine, dialect: Dialect, url: URL) -> None:
        self.engine = engine
        self.dialect = dialect
        self.where = url.render_as_string(hide_password=True)
        self.file: Path | None = dialect.file_of(url)
        self.errors: tuple[type[Exception], ...] = (SQLAlchemyError, engine.dialect.loaded_dbapi.Error)
        """What can be raised by SQLAlchemy and, where a driver's cursor is used directly, by the driver."""

    @property
    def is_in_memory(self) -> bool:
        """Say whether there is one connection only, which all threads must take turns with."""
        return self.dialect.name == "sqlite" and self.file is None

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """Lend a connection that sees one consistent state of the database."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self, *, is_durable: bool = True) -> Generator[Connection]:
        """Lend a connection in a write transaction, committed at the end of the block."""
        with self.engine.connect().execution_options(**{WRITES: True}) as connection:
            self.dialect.begin_write(connection, is_durable=is_durable)
            yield connection
            connection.commit()

    def connect_writer(self) -> Connection:
        """Open the connection of a writer thread, for `dialect.begin_write`."""
        return self.engine.connect().execution_options(**{WRITES: True})

    def unavailable(self, error: BaseException) -> BackendUnavailable:
        """Return the error that tells a user why the database cannot be used, and what to do."""
        return self.dialect.unavailable(self.where, error)

    def close(self) -> None:
        """Close every connection that is not lent."""
        self.engine.dispose()

    def forget_connections(self) -> None:
        """Let go of the connections without closing them: they belong to the parent of this forked process."""
        self.engine.dispose(close=False)


def connect_database(url: str, *, connect_timeout: float | None = None, echo: bool = False) -> Database:
    """Return a database without looking at its schema, for the commands that manage it.

    Raises:
        BackendUnavailable: the folder, the file or the server cannot be used.
    """
    parsed = normalize_url(url)
    dialect = dialect_of(parsed)
    database = Database(dialect.create_engine(parsed, connect_timeout=connect_timeout, echo=echo), dialect, parsed)
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
        url: see `dialects.normalize_url`.
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
            schema.ensure(database, migrate=migrate)
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
