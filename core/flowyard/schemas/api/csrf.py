"""Tokens against forged requests, as the REST API has them."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import DateTime, Model
from flowyard.schemas.ids import new_id


class CsrfToken(Model):
    """What a client sends with everything that changes something, until it is over."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    token: str
    client: str
    expiration: DateTime
