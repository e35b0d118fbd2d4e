"""Rows of flows, read."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.runs import Flow
from flowyard.store.tables import flow


def read(connection: Connection, flow_id: UUID) -> Flow:
    """Return a flow.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select(flow).where(flow.c.id == flow_id)).first()
    if row is None:
        raise ObjectNotFound("flow", flow_id)
    return _flow_of(row)


def read_many(connection: Connection, *, limit: int, offset: int) -> list[Flow]:
    """Return flows, those first that were made last."""
    rows = connection.execute(select(flow).order_by(flow.c.id.desc()).limit(limit).offset(offset))
    return [_flow_of(row) for row in rows]


def _flow_of(row: Row[Any]) -> Flow:
    return Flow(name=row.name, id=row.id, tags=row.tags, created=row.created, updated=row.updated)
