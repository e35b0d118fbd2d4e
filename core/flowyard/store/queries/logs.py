"""Rows of log lines, read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.engine import Connection, Row

from flowyard.schemas.events import LogEmitted
from flowyard.schemas.filters import LogFilter
from flowyard.store.logs import NO_FLOW_RUN
from flowyard.store.tables import log


def read_many(
    connection: Connection, where: LogFilter, *, limit: int, offset: int, newest_first: bool
) -> list[LogEmitted]:
    """Return log lines in the order of time."""
    query = select(log)
    if where.task_run_id is not None:
        query = query.where(log.c.task_run_id == where.task_run_id)
        if where.flow_run_id is not None:
            # Not for an index to look up: a task run has few lines to read, its flow run very many.
            query = query.where(func.coalesce(log.c.flow_run_id, log.c.flow_run_id) == where.flow_run_id)
    elif where.flow_run_id is not None:
        query = query.where(log.c.flow_run_id == where.flow_run_id)
    if where.level_at_least is not None:
        query = query.where(log.c.level >= where.level_at_least)
    query = query.order_by(log.c.id.desc() if newest_first else log.c.id).limit(limit).offset(offset)
    return [_line_of(row) for row in connection.execute(query)]


def _line_of(row: Row[Any]) -> LogEmitted:
    flow_run_id = None if row.flow_run_id == NO_FLOW_RUN else row.flow_run_id
    timestamp: datetime = row.timestamp
    return LogEmitted(flow_run_id, row.task_run_id, row.name, row.level, row.message, timestamp)
