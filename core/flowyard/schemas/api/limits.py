"""Limits, as the REST API has them."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model
from flowyard.schemas.ids import new_id


class ConcurrencyLimit(Model):
    """A concurrency limit."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    tag: str
    concurrency_limit: int
    active_slots: list[UUID] = Field(default_factory=list[UUID])


class ConcurrencyLimitCreate(Body):
    """What creates a concurrency limit."""

    tag: str
    concurrency_limit: int


class ConcurrencyLimitV2(Model):
    """A concurrency limit v2."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    active: bool = True
    name: str
    limit: int
    active_slots: int = 0
    denied_slots: int = 0
    slot_decay_per_second: float = 0
    avg_slot_occupancy_seconds: float = 2.0


class ConcurrencyLimitV2Create(Body):
    """What creates a concurrency limit v2."""

    active: bool = True
    name: str
    limit: int
    active_slots: int = 0
    denied_slots: int = 0
    slot_decay_per_second: float = 0


class ConcurrencyLimitV2Update(Body):
    """What can be changed of a concurrency limit v2; a field that is left out stays."""

    active: bool | None = None
    name: str | None = None
    limit: int | None = None
    active_slots: int | None = None
    denied_slots: int | None = None
    slot_decay_per_second: float | None = None


class GlobalConcurrencyLimitResponse(Model):
    """A global concurrency limit, as the API answers."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    active: bool = True
    name: str
    limit: int
    active_slots: int
    slot_decay_per_second: float = 2.0


class MinimalConcurrencyLimitResponse(Model):
    """A minimal concurrency limit, as the API answers."""

    id: UUID
    name: str
    limit: int
