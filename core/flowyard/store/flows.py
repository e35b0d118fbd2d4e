"""Rows of flows, written."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from flowyard.schemas.ids import new_id
from flowyard.store.plain import PlainConnection, insert_text
from flowyard.store.rows import read_id

_FIND = "SELECT id FROM flow WHERE name = ?"
_INSERT = f"{insert_text('flow', ('id', 'name', 'tags', 'created', 'updated'))} ON CONFLICT DO NOTHING"


def names_of(connection: PlainConnection, flow_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the names of those of these flows that there are."""
    if not flow_ids:
        return {}
    rows = connection.rows_among("SELECT id, name FROM flow WHERE id IN (ids)", list(flow_ids))
    return {row.id: row.name for row in rows}


def register(connection: PlainConnection, name: str, now: datetime) -> UUID:
    """Return the id of the flow of that name, made now if there was none."""
    found = connection.value(_FIND, name)
    if found is None:
        # On PostgreSQL somebody else may have inserted it since.
        connection.execute(_INSERT, new_id(), name, [], now, now)
        found = connection.value(_FIND, name)
    return read_id(found)
