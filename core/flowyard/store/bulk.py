"""Statements that write many rows, the fast way into both databases.

`executemany` gives the interpreter lock up at each row, and while the main thread is busy every re-acquire can cost a
switch interval (5 ms): measured 2,707 microseconds a row under load against 22 for these. Values are handed to the
driver as they are, in the order of the columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from flowyard.store.dialects import Dialect
from flowyard.store.plain import PlainConnection

# A batch is cut into pieces of so many rows, and one exact rest below the smallest. Few pieces, because each statement
# gives the interpreter lock up three times; few texts, because the driver's cache keeps a prepared statement for each
# (1.4 KB a row of `task_run`).
_PIECES = (1024, 512, 256, 128, 64)


class BulkInsert:
    """Inserts any number of rows of one table.

    Args:
        dialect: of the database.
        table: its name.
        columns: their names, in the order in which values will come.
        conflict: what happens when a row is there already: what follows ON CONFLICT.
        is_sent: what the database says against a row may be raised by the next statement; saves round trips.
    """

    def __init__(
        self, dialect: Dialect, table: str, columns: Sequence[str], *, conflict: str, is_sent: bool = False
    ) -> None:
        self._is_sent = is_sent
        self._width = len(columns)
        self._head = f"INSERT INTO {table} ({', '.join(columns)}) "
        self._row = f"({', '.join('?' * self._width)})"
        self._tail = f" ON CONFLICT {conflict}"
        self._pieces = tuple(rows for rows in _PIECES if rows * self._width <= dialect.max_parameters)
        self._texts: dict[int, str] = {}
        arrays = dialect.array_source(table, columns)
        self._from_arrays = None if arrays is None else f"{self._head}{arrays}{self._tail}"

    def __call__(self, connection: PlainConnection, values: Sequence[Any]) -> None:
        """Insert the rows whose columns follow one another in `values`."""
        width, at, end = self._width, 0, len(values)
        if self._from_arrays is not None:
            execute = connection.send_native if self._is_sent else connection.execute_native
            execute(self._from_arrays, [list(values[number::width]) for number in range(width)])
            return
        for rows in self._pieces:
            step = rows * width
            while end - at >= step:
                connection.execute_native(self._text(rows), values[at : at + step])
                at += step
        if at < end:
            connection.execute_native(self._text((end - at) // width), values[at:])

    def _text(self, rows: int) -> str:
        text = self._texts.get(rows)
        if text is None:
            text = self._texts[rows] = f"{self._head}VALUES {', '.join([self._row] * rows)}{self._tail}"
        return text


class BulkUpdate:
    """Changes any number of rows of one table, each found by its key; sent, as `BulkInsert` says.

    Args:
        dialect: of the database.
        table: its name.
        columns: their names, in the order in which values will come; the key is the first one.
    """

    def __init__(self, dialect: Dialect, table: str, columns: Sequence[str]) -> None:
        self._width = len(columns)
        key, *changing = columns
        source = dialect.array_source(table, columns)
        self._takes_arrays = source is not None
        if source is None:
            self._text = f"UPDATE {table} SET {', '.join(f'{name} = ?' for name in changing)} WHERE {key} = ?"
        else:
            changes = ", ".join(f"{name} = new.{name}" for name in changing)
            new = f"({source}) AS new ({', '.join(columns)})"
            self._text = f"UPDATE {table} SET {changes} FROM {new} WHERE {table}.{key} = new.{key}"

    def __call__(self, connection: PlainConnection, values: Sequence[Any]) -> None:
        """Change the rows whose columns follow one another in `values`."""
        width = self._width
        if self._takes_arrays:
            connection.send_native(self._text, [list(values[number::width]) for number in range(width)])
            return
        for at in range(0, len(values), width):
            connection.execute_native(self._text, [*values[at + 1 : at + width], values[at]])


def insert_rows(connection: PlainConnection, table: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Insert rows that have the same columns, but not those that are there already; sent, as `BulkInsert` says."""
    if rows:
        _inserter(connection.dialect, table, tuple(rows[0]))(connection, _values(connection, rows))


def update_rows(connection: PlainConnection, table: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Change columns of rows, the same of each; the first one is the key. Sent, as `BulkInsert` says."""
    if rows:
        _updater(connection.dialect, table, tuple(rows[0]))(connection, _values(connection, rows))


def _values(connection: PlainConnection, rows: Sequence[Mapping[str, object]]) -> list[Any]:
    return connection.native([value for row in rows for value in row.values()])


@lru_cache(maxsize=32)
def _inserter(dialect: Dialect, table: str, columns: tuple[str, ...]) -> BulkInsert:
    return BulkInsert(dialect, table, columns, conflict="DO NOTHING", is_sent=True)


@lru_cache(maxsize=32)
def _updater(dialect: Dialect, table: str, columns: tuple[str, ...]) -> BulkUpdate:
    return BulkUpdate(dialect, table, columns)
