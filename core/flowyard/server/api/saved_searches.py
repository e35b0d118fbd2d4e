"""Saved searches of the dashboard."""

from __future__ import annotations

from uuid import UUID

from fastapi import Response, status

from flowyard.schemas.api.saved_searches import SavedSearch, SavedSearchCreate
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf
from flowyard.server.routes import Routes
from flowyard.store import saved_searches

router = Routes(prefix="/saved_searches", tags=["SavedSearches"])


@router.put("/", operation_id="create_saved_search", response_model=SavedSearch)
def create(body: SavedSearchCreate, database: Database) -> Response:
    """Save a search, in the place of the one of its name."""
    made, is_new = database.change(
        lambda connection: saved_searches.put(connection, database.dialect, body, now=utcnow())
    )
    return answers.created(made, is_new=is_new)


@router.post("/filter", operation_id="read_saved_searches", response_model=list[SavedSearch])
def read_many(database: Database, page: PageOf) -> Response:
    """Return searches."""
    found = database.read(lambda connection: saved_searches.read_many(connection, page))
    return answers.many(SavedSearch, found)


@router.get("/{id}", operation_id="read_saved_search", response_model=SavedSearch)
def read(id: UUID, database: Database) -> Response:
    """Return a search."""
    return answers.one(database.read(lambda connection: saved_searches.read(connection, id)))


@router.delete("/{id}", operation_id="delete_saved_search", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a search."""
    database.change(lambda connection: saved_searches.remove(connection, id))
