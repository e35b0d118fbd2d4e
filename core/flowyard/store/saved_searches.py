"""Searches of the dashboard that somebody gave a name."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table, UniqueConstraint, delete, select, update
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.saved_searches import SavedSearch, SavedSearchCreate
from flowyard.schemas.ids import new_id
from flowyard.store.dialects import Dialect
from flowyard.store.ordering import Order, Page
from flowyard.store.tables import ID, JSON, TEXT, TIME, metadata

saved_search = Table(
    "saved_search",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("filters", JSON, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("name", name="uq_saved_search__name"),
    sqlite_with_rowid=False,
)


def put(
    connection: Connection, dialect: Dialect, body: SavedSearchCreate, *, now: datetime
) -> tuple[SavedSearch, bool]:
    """Store a search in the place of the one of its name; return it, and whether there was none."""
    made = SavedSearch(id=new_id(), created=now, updated=now, name=body.name, filters=body.filters)
    values = made.model_dump()
    statement = dialect.insert(saved_search).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    if connection.execute(statement, values).rowcount:
        return made, True
    of_name = saved_search.c.name == body.name
    connection.execute(update(saved_search).where(of_name).values(filters=values["filters"], updated=now))
    return _search_of(connection.execute(select(saved_search).where(of_name)).one()), False


def read(connection: Connection, search_id: UUID) -> SavedSearch:
    """Return a search.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select(saved_search).where(saved_search.c.id == search_id)).first()
    if row is None:
        raise ObjectNotFound("saved search", search_id)
    return _search_of(row)


_BY_NAME = Order(saved_search.c.name)


def read_many(connection: Connection, page: Page) -> list[SavedSearch]:
    """Return searches in the order of their names."""
    query = page.of(connection, select(saved_search), _BY_NAME, saved_search.c.id, "saved search")
    return [_search_of(row) for row in connection.execute(query)]


def remove(connection: Connection, search_id: UUID) -> None:
    """Delete a search.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if not connection.execute(delete(saved_search).where(saved_search.c.id == search_id)).rowcount:
        raise ObjectNotFound("saved search", search_id)


def _search_of(row: Row[Any]) -> SavedSearch:
    return SavedSearch(id=row.id, created=row.created, updated=row.updated, name=row.name, filters=row.filters)
