"""Connections that take SQL text.

What every script does when it runs a flow is written as text that SQLite and PostgreSQL both take, with a `?` for each
value. The same through SQLAlchemy took more than half of the time of a script with one task: 150 ms to load it and 50
to compile the statements. Queries with filters, and all that is done rarely, go through SQLAlchemy, on the same
connection if need be: see `PlainConnection.core`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self
from uuid import UUID

from flowyard.store.encoding import duration_to_microseconds, storable_text, to_json, to_microseconds
from flowyard.store.rows import Row, read_rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from flowyard.store.dialects import Dialect
    from flowyard.store.happenings import Happenings

INFO_KEY = "flowyard.happenings"
"""Where SQLAlchemy's connection, in its `info`, has what is noted on it."""
_logger = logging.getLogger("flowyard.database")


class Cursor(Protocol):
    """What a statement returned, as far as both drivers have it."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        ...

    @property
    def description(self) -> Any:
        """A tuple for each column; its first item is the name."""
        ...

    def fetchone(self) -> Any:
        """Return the next row; None when there is none."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Return the rows, one after another."""
        ...


class Driver(Protocol):
    """A connection of `sqlite3` or psycopg, as far as they are the same."""

    def execute(self, statement: Any, values: Any = (), /) -> Cursor:
        """Execute a statement with the driver's own signs for values."""
        ...

    def commit(self) -> None:
        """Commit the transaction, if there is one."""
        ...

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        ...

    def close(self) -> None:
        """Close the connection, and undo the transaction."""
        ...


class PlainConnection:
    """A connection of one thread. Made by `Database.connect`; transactions begin with `Dialect.begin_...`."""

    def __init__(self, driver: Driver, dialect: Dialect, *, is_shared: bool = False, is_logged: bool = False) -> None:
        self.driver = driver
        self.dialect = dialect
        self.is_durable: bool | None = None
        """Whether commits survive a loss of power; None before the first transaction. For the dialect."""
        self.info: dict[str, Any] = {}
        """What modules note about this transaction, by names of their own."""
        self._is_shared = is_shared
        self._is_logged = is_logged
        self._core: Connection | None = None
        self._gathered: ExitStack | None = None
        self.happenings: Happenings | None = None
        """What becomes an event when the transaction commits; None where there are no events."""

    @property
    def has_core(self) -> bool:
        """Say whether anything was done through SQLAlchemy here."""
        return self._core is not None

    def note_in(self, happenings: Happenings) -> None:
        """Let what happens on this connection be noted."""
        self.happenings = happenings
        if self._core is not None:
            self._core.info[INFO_KEY] = happenings

    @property
    def core(self) -> Connection:
        """This connection for SQLAlchemy, in the transaction it is in; not to be committed or rolled back there."""
        self._settle()
        if self._core is None:
            self._core = self.dialect.attach(self.driver)
            if self.happenings is not None:
                self._core.info[INFO_KEY] = self.happenings
        return self._core

    def execute(self, statement: str, *values: object) -> Cursor:
        """Execute a statement with a value for each `?`: ids, times, texts, JSON types."""
        return self.execute_native(statement, self.native(values))

    def native(self, values: Iterable[object]) -> list[Any]:
        """Return values as the database stores them: ids, times, texts, JSON types."""
        native_id = self.dialect.native_id
        return [value if value.__class__ in _AS_THEY_ARE else _bound(value, native_id) for value in values]

    def execute_among(self, statement: str, ids: Sequence[UUID], *values: object) -> Cursor:
        """Execute a statement in which `IN (ids)` means any of `ids`, after a value for each `?` before that."""
        condition, native = self.dialect.among(ids)
        return self.execute_native(statement.replace("IN (ids)", condition), [*self.native(values), *native])

    def execute_native(self, statement: str, values: Sequence[Any]) -> Cursor:
        """Execute a statement whose values are as the database stores them."""
        if self._is_logged:
            _logger.info("%s", statement)
        text = self.dialect.driver_text(statement)
        gathered, self._gathered = self._gathered, None
        if gathered is None:
            return self.driver.execute(text, values)
        with gathered:
            return self.driver.execute(text, values)

    def send_native(self, statement: str, values: Sequence[Any]) -> None:
        """Execute a statement whose result nobody needs, with the next one where that saves a round trip.

        What the database says against it is raised then.
        """
        if self._gathered is None:
            gathered = self.dialect.gather(self.driver)
            if gathered is None:
                self.execute_native(statement, values)
                return
            self._gathered = ExitStack()
            self._gathered.enter_context(gathered)
        if self._is_logged:
            _logger.info("%s", statement)
        self.driver.execute(self.dialect.driver_text(statement), values)

    def _settle(self) -> None:
        """Wait for what was sent."""
        gathered, self._gathered = self._gathered, None
        if gathered is not None:
            with gathered:
                pass

    def give_up_sent(self) -> None:
        """Wait for what was sent, whatever became of it: it is about to be undone."""
        with contextlib.suppress(self.dialect.driver_error):
            self._settle()

    def insert(self, table: str, values: Mapping[str, object]) -> None:
        """Insert one row."""
        self.execute(insert_text(table, values), *values.values())

    def update(self, table: str, values: Mapping[str, object], where: str, *more: object) -> int:
        """Change the rows that meet a condition, and return how many."""
        changes = ", ".join([f"{name} = ?" for name in values])
        return self.execute(f"UPDATE {table} SET {changes} WHERE {where}", *values.values(), *more).rowcount

    def value(self, statement: str, *values: object) -> Any:
        """Return the first column of the first row, as the driver has it; None when there is no row."""
        row = self.execute(statement, *values).fetchone()
        return None if row is None else row[0]

    def rows(self, statement: str, *values: object) -> list[Row]:
        """Return all rows."""
        return self._rows_of(self.execute(statement, *values))

    def rows_among(self, statement: str, ids: Sequence[UUID], *values: object) -> list[Row]:
        """Return all rows of a statement as `execute_among` takes it."""
        return self._rows_of(self.execute_among(statement, ids, *values))

    def _rows_of(self, cursor: Cursor) -> list[Row]:
        names = [column[0] for column in cursor.description]
        return read_rows(names, cursor, is_native=self.dialect.has_native_types)

    def savepoint(self) -> Savepoint:
        """Begin a part of the transaction that can be undone alone."""
        return Savepoint(self)

    def commit(self) -> None:
        """Commit the transaction."""
        gathered, self._gathered = self._gathered, None
        if gathered is None:
            self.driver.commit()
            return
        with gathered:
            self.driver.commit()

    def rollback(self) -> None:
        """Undo the transaction."""
        self.give_up_sent()
        self.driver.rollback()

    def close(self) -> None:
        """Undo what is not committed, and close the connection unless it is the only one of a database in memory."""
        core, self._core = self._core, None
        self._gathered = None
        try:
            if core is not None:
                core.close()
        finally:
            if self._is_shared:
                self.driver.rollback()
            else:
                self.driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Savepoint:
    """A part of a transaction. One in another is undone with it."""

    def __init__(self, connection: PlainConnection) -> None:
        self._connection = connection
        connection.send_native("SAVEPOINT flowyard", ())

    def rollback(self) -> None:
        """Undo what was done since it began."""
        self._connection.give_up_sent()
        self._connection.execute("ROLLBACK TO SAVEPOINT flowyard")
        self.commit()

    def commit(self) -> None:
        """Make what was done since it began a part of the transaction around it."""
        self._connection.execute("RELEASE SAVEPOINT flowyard")


def insert_text(table: str, columns: Mapping[str, object] | Sequence[str]) -> str:
    """Return the INSERT of one row."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"


# Most values of a run; asked of their class first, which costs a fifth of a call.
_AS_THEY_ARE = frozenset({type(None), bool, int, float, bytes})


def _bound(value: object, native_id: Any) -> Any:
    if value is None or isinstance(value, (int, float, bytes)):
        return value
    if isinstance(value, UUID):
        return native_id(value)
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, datetime):
        return to_microseconds(value)
    if isinstance(value, timedelta):
        return duration_to_microseconds(value)
    return to_json(value)
