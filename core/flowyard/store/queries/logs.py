"""Rows of log lines, read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from flowyard.schemas.events import LogEmitted
from flowyard.schemas.filters import LogFilter
from flowyard.store import task_runs
from flowyard.store.logs import NO_FLOW_RUN
from flowyard.store.tables import log


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
