"""Rows of log lines."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from flowyard.schemas.events import LogEmitted
from flowyard.schemas.filters import LogFilter
from flowyard.store import task_runs
from flowyard.store.tables import log

NO_FLOW_RUN = UUID(int=0)
_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_SEQUENCE_BITS = 22


class LogIds:
    """Makes ids of log lines: UUIDv7 from the line's own time, so that the order of ids is the order of time.

    Lines of the same microsecond keep the order in which they came. One thread only.
    """

    def __init__(self) -> None:
        self._random = int.from_bytes(os.urandom(5))
        self._sequence = 0

    def __call__(self, microseconds: int) -> int:
        """Return the 128 bits of an id for a line of that time."""
        self._sequence = (self._sequence + 1) & ((1 << _SEQUENCE_BITS) - 1)
        milliseconds, rest = divmod(microseconds, 1000)
        low = (self._sequence << 40) | self._random
        return (milliseconds << 80) | (((rest << 12) // 1000) << 64) | low | _VERSION_AND_VARIANT


def read_many(
    connection: Connection, where: LogFilter, *, limit: int, offset: int, newest_first: bool
) -> list[LogEmitted]:
    """Return log lines in the order of time."""
    query = select(log)
    flow_run_id = where.flow_run_id
    if where.task_run_id is not None:
        if flow_run_id is None:
            # Lines are kept by flow run: with it the database reads that run's lines instead of all.
            flow_run_id = task_runs.flow_run_id_of(connection, where.task_run_id) or NO_FLOW_RUN
        query = query.where(log.c.task_run_id == where.task_run_id)
    if flow_run_id is not None:
        query = query.where(log.c.flow_run_id == flow_run_id)
    if where.level_at_least is not None:
        query = query.where(log.c.level >= where.level_at_least)
    query = query.order_by(log.c.id.desc() if newest_first else log.c.id).limit(limit).offset(offset)
    return [_line_of(row) for row in connection.execute(query)]


def _line_of(row: Row[Any]) -> LogEmitted:
    flow_run_id = None if row.flow_run_id == NO_FLOW_RUN else row.flow_run_id
    timestamp: datetime = row.timestamp
    return LogEmitted(flow_run_id, row.task_run_id, row.name, row.level, row.message, timestamp)
