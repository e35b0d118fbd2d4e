"""Log lines for the REST API: written in bulk, read from one end or the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from flowyard.schemas.api.logs import Log, LogCreate, LogFilter
from flowyard.schemas.api.sorting import LogSort
from flowyard.store.bulk import BulkInsert
from flowyard.store.dialects import Dialect
from flowyard.store.encoding import storable_text, to_microseconds
from flowyard.store.filtering.logs import log_condition
from flowyard.store.logs import NO_FLOW_RUN, LogIds, storable_level
from flowyard.store.plain import PlainConnection
from flowyard.store.projection import LOG
from flowyard.store.tables import log


class LogWriter:
    """Inserts lines. For the thread of the writer."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._id = LogIds()
        self._insert = BulkInsert(dialect, "log", LOG, conflict="DO NOTHING")

    def __call__(self, connection: PlainConnection, lines: Sequence[LogCreate]) -> None:
        """Store lines, each under an id that is made from its own time."""
        native, native_of = self._dialect.native_id, self._dialect.native_id_of
        values: list[Any] = []
        for line in lines:
            microseconds = to_microseconds(line.timestamp)
            values += (
                native(line.flow_run_id or NO_FLOW_RUN),
                native_of(self._id(microseconds)),
                None if line.task_run_id is None else native(line.task_run_id),
                storable_text(line.name),
                storable_level(line.level),
                storable_text(line.message),
                microseconds,
            )
        self._insert(connection, values)


def store(connection: PlainConnection, lines: Sequence[LogCreate]) -> None:
    """Store lines in one statement, or few."""
    if lines:
        _writer(connection.dialect)(connection, lines)


def read_many(
    connection: Connection, where: LogFilter | None, *, sort: LogSort, limit: int, offset: int, after: UUID | None
) -> list[Log]:
    """Return the lines that a filter takes, in the order of time.

    Args:
        connection: to read with.
        where: which lines; None for all.
        sort: oldest or newest first.
        limit: at most so many.
        offset: so many are left out first.
        after: the id of the last line of the page before; None for the first page.
    """
    query = select(log)
    if where is not None:
        query = query.where(log_condition(where))
    is_descending = sort is LogSort.TIMESTAMP_DESC
    if after is not None:
        query = query.where(log.c.id < after if is_descending else log.c.id > after)
    # The order of ids is the order of time, and within a flow run it is that of the table.
    query = query.order_by(log.c.id.desc() if is_descending else log.c.id)
    return [_line_of(row) for row in connection.execute(query.limit(limit).offset(offset))]


@lru_cache(maxsize=4)
def _writer(dialect: Dialect) -> LogWriter:
    return LogWriter(dialect)


def _line_of(row: Row[Any]) -> Log:
    return Log.model_construct(
        id=row.id,
        created=row.timestamp,
        updated=row.timestamp,
        name=row.name,
        level=row.level,
        message=row.message,
        timestamp=row.timestamp,
        flow_run_id=None if row.flow_run_id == NO_FLOW_RUN else row.flow_run_id,
        task_run_id=row.task_run_id,
    )
