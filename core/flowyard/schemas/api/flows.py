"""Flows, as the REST API has them."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model
from flowyard.schemas.api.names import Name
from flowyard.schemas.ids import new_id


class Flow(Model):
    """A flow."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    tags: list[str] = Field(default_factory=list[str])


class FlowCreate(Body):
    """What creates a flow."""

    name: Name
    tags: list[str] = Field(default_factory=list[str])


class FlowUpdate(Body):
    """What can be changed of a flow; a field that is left out stays."""

    tags: list[str] = Field(default_factory=list[str])
