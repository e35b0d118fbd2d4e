"""Searches of the dashboard that somebody gave a name, as the REST API has them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model
from flowyard.schemas.ids import new_id


class SavedSearchFilter(Model):
    """One condition of a search; what it means is up to the dashboard."""

    object: str
    property: str
    type: str
    operation: str
    value: Any


class SavedSearch(Model):
    """A search with a name."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    filters: list[SavedSearchFilter] = Field(default_factory=list[SavedSearchFilter])


class SavedSearchCreate(Body):
    """What creates a saved search."""

    name: str
    filters: list[SavedSearchFilter] = Field(default_factory=list[SavedSearchFilter])
