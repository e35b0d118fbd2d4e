"""Log lines of runs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Response, status

from flowyard.schemas.api.logs import Log, LogCreate, LogFilter
from flowyard.schemas.api.sorting import LogSort
from flowyard.server import answers
from flowyard.server.dependencies import Database, Limit, Offset
from flowyard.server.routes import Routes
from flowyard.store import served_logs

router = Routes(prefix="/logs", tags=["Logs"])


@router.post("/", operation_id="create_logs", status_code=status.HTTP_201_CREATED)
def create(body: list[LogCreate], database: Database) -> None:
    """Store log lines."""
    database.change_plainly(lambda connection: served_logs.store(connection, body))


@router.post("/filter", operation_id="read_logs", response_model=list[Log])
def read_many(
    database: Database,
    limit: Limit,
    offset: Offset = 0,
    logs: Annotated[LogFilter | None, Body()] = None,
    sort: Annotated[LogSort, Body()] = LogSort.TIMESTAMP_ASC,
    after: Annotated[UUID | None, Body()] = None,
) -> Response:
    """Return log lines."""
    found = database.read(
        lambda connection: served_logs.read_many(connection, logs, sort=sort, limit=limit, offset=offset, after=after)
    )
    return answers.many(Log, found)
