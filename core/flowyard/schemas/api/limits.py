"""Concurrency limits, of tags and global, as the REST API has them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model
from flowyard.schemas.ids import new_id

MOST = 2**31 - 1
"""More slots than this a database cannot count."""
Slots = Annotated[int, Field(ge=0, le=MOST)]
PerSecond = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ConcurrencyLimit(Model):
    """How many task runs with a tag may run at a time."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    tag: str
    concurrency_limit: int
    active_slots: list[UUID] = Field(default_factory=list[UUID])
    """The task runs that hold a slot."""


class ConcurrencyLimitCreate(Body):
    """What creates the limit of a tag, or changes it."""

    tag: str
    concurrency_limit: Annotated[int, Field(ge=0, le=MOST)]


class ConcurrencyLimitV2(Model):
    """A number of slots under a name."""

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
    """What creates a global concurrency limit."""

    active: bool = True
    name: str
    limit: Slots
    active_slots: Slots = 0
    denied_slots: Slots = 0
    slot_decay_per_second: PerSecond = 0


class ConcurrencyLimitV2Update(Body):
    """What can be changed of a global concurrency limit; a field that is left out stays."""

    active: bool | None = None
    name: str | None = None
    limit: Slots | None = None
    active_slots: Slots | None = None
    denied_slots: Slots | None = None
    slot_decay_per_second: PerSecond | None = None


class GlobalConcurrencyLimitResponse(Model):
    """A global concurrency limit, and how many of its slots are taken now."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    active: bool = True
    name: str
    limit: int
    active_slots: int
    slot_decay_per_second: float = 2.0


class MinimalConcurrencyLimitResponse(Model):
    """A limit that slots were taken of, or given back to."""

    id: UUID
    name: str
    limit: int
