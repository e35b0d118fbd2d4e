"""Rows of flows."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import Flow
from flowyard.store.dialects import Dialect
from flowyard.store.tables import flow


def register(connection: Connection, dialect: Dialect, name: str, now: datetime) -> UUID:
    """Return the id of the flow of that name, made now if there was none."""
    query = select(flow.c.id).where(flow.c.name == name)
    found = connection.execute(query).scalar()
    if found is not None:
        return found
    # On PostgreSQL somebody else may have inserted it since.
    values: dict[str, Any] = {"id": new_id(), "name": name, "tags": [], "created": now, "updated": now}
    connection.execute(dialect.insert(flow).on_conflict_do_nothing(), values)
    return connection.execute(query).scalar_one()


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
