"""Concurrency limits: how many slots a name has, and who asks for them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import utcnow

TAG_PREFIX = "tag:"
"""What the name of a limit begins with that task runs with a tag count against."""


class SlotMode(enum.StrEnum):
    """How slots come back."""

    CONCURRENCY = "concurrency"
    """When their holder gives them up."""
    RATE_LIMIT = "rate_limit"
    """By themselves, as many a second as the limit says."""


@dataclass(eq=False, slots=True, kw_only=True)
class ConcurrencyLimit:
    """A number of slots under a name."""

    name: str
    limit: int
    id: UUID = field(default_factory=new_id)
    active: bool = True
    """An inactive limit lets everybody pass."""
    active_slots: int = 0
    """Slots that are taken."""
    denied_slots: int = 0
    """Slots that somebody waits for."""
    slot_decay_per_second: float = 0.0
    """Slots that come back a second by themselves; 0 for none."""
    avg_slot_occupancy_seconds: float = 2.0
    """How long slots were held lately."""
    created: datetime = field(default_factory=utcnow)
    updated: datetime = field(default_factory=utcnow)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRequest:
    """Slots of several limits, all or none of them."""

    names: tuple[str, ...]
    slots: int
    mode: SlotMode = SlotMode.CONCURRENCY
    lease_id: UUID = field(default_factory=new_id)
    """Names what is granted, and the place in the queue before: smaller ids came first."""
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    """The slots come back when it is lost with its worker; so it is not a task run that is called there by another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotHolder:
    """Slots of one limit that are held."""

    lease_id: UUID
    slots: int
    flow_run_id: UUID | None
    """None for whoever is in no flow run."""
    task_run_id: UUID | None
    acquired: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotAnswer:
    """What became of a request."""

    is_granted: bool
    takes_slots: bool = False
    """Whether an active limit is among those that were asked: something is held, or would be."""
    blocked_by: str | None = None
    """The limit that has no room."""
    position: int = 0
    """How many requests to that limit came earlier and still wait."""
    retry_after_seconds: float = 0.0
    """When it is worth asking again, at a guess."""
    is_called: bool = False
    """Whether who was denied is told when it is worth asking again."""
