"""Slots of clients that only count: they say how many they take and give back, and not who they are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection

from flowyard.rules.limits import average_occupancy, decay
from flowyard.schemas.ids import new_id
from flowyard.schemas.limits import ConcurrencyLimit, SlotAnswer, SlotRequest
from flowyard.store import limits, slot_calls, slots
from flowyard.store.limits import concurrency_limit, concurrency_slot
from flowyard.store.plain import PlainConnection
from flowyard.store.slot_calls import NOBODY


def take(connection: PlainConnection, request: SlotRequest, now: datetime) -> tuple[SlotAnswer, list[ConcurrencyLimit]]:
    """Take slots of several limits, all or none, and return what became of it and those limits.

    Nobody waits in the queue: who is refused asks again as somebody else.

    Raises:
        SlotsOverLimit, RateLimitWithoutDecay: it can never be granted.
    """
    answer = slots.acquire(connection, request, owner_id=NOBODY, now=now, is_queued=False)
    return answer, [limits.read(connection.core, name, now) for name in dict.fromkeys(request.names)]


def give_back(
    connection: Connection, names: Sequence[str], slots: int, *, occupancy_seconds: float | None, now: datetime
) -> list[ConcurrencyLimit]:
    """Give slots of each limit back, those first that were taken first; return the limits that there are."""
    # Locked in the order of their names, as `limits.acquire` does.
    rows = connection.execute(
        select(concurrency_limit)
        .where(concurrency_limit.c.name.in_(names))
        .order_by(concurrency_limit.c.name)
        .with_for_update()
    ).all()
    for row in rows:
        changes: dict[str, Any] = {}
        if row.slot_decay_per_second > 0:
            left, since = decay(row.decaying_slots, per_second=row.slot_decay_per_second, since=row.decayed, now=now)
            changes = {"decaying_slots": max(left - slots, 0), "decayed": since}
        if occupancy_seconds is not None:
            average = row.avg_slot_occupancy_seconds
            seconds = occupancy_seconds / slots
            changes["avg_slot_occupancy_seconds"] = average_occupancy(average, limit=row.slot_limit, seconds=seconds)
        if changes:
            connection.execute(update(concurrency_limit).where(concurrency_limit.c.id == row.id).values(**changes))
        _drop(connection, row.id, slots)
    slot_calls.note(connection)
    return [limits.read(connection, row.name, now) for row in rows]


def _drop(connection: Connection, limit_id: UUID, slots: int) -> None:
    of_limit = (concurrency_slot.c.limit_id == limit_id) & (concurrency_slot.c.owner_id == NOBODY)
    query = select(concurrency_slot.c.lease_id, concurrency_slot.c.slots).where(of_limit)
    for row in connection.execute(query.order_by(concurrency_slot.c.acquired, concurrency_slot.c.lease_id)).all():
        if slots <= 0:
            return
        one = of_limit & (concurrency_slot.c.lease_id == row.lease_id)
        if row.slots <= slots:
            connection.execute(delete(concurrency_slot).where(one))
        else:
            connection.execute(update(concurrency_slot).where(one).values(slots=row.slots - slots))
        slots -= row.slots


def hold(connection: Connection, limit_id: UUID, slots: int, now: datetime) -> None:
    """Say that so many slots of a limit are taken, whoever had them until now."""
    connection.execute(delete(concurrency_slot).where(concurrency_slot.c.limit_id == limit_id))
    if slots:
        connection.execute(insert(concurrency_slot), _slot(limit_id, now, slots=slots))
    slot_calls.note(connection)


def hold_for(connection: Connection, limit_id: UUID, task_run_ids: Sequence[UUID], now: datetime) -> None:
    """Say that these task runs hold a slot of a limit each, and nobody else does; those that do keep theirs."""
    of_limit = concurrency_slot.c.limit_id == limit_id
    there = connection.execute(select(concurrency_slot.c.task_run_id).where(of_limit)).scalars().all()
    is_kept = concurrency_slot.c.task_run_id.in_(task_run_ids)
    connection.execute(delete(concurrency_slot).where(of_limit, ~is_kept | concurrency_slot.c.task_run_id.is_(None)))
    missing = [each for each in dict.fromkeys(task_run_ids) if each not in there]
    if missing:
        rows = [_slot(limit_id, now, slots=1, task_run_id=each) for each in missing]
        connection.execute(insert(concurrency_slot), rows)
    slot_calls.note(connection)


def _slot(limit_id: UUID, now: datetime, *, slots: int, task_run_id: UUID | None = None) -> dict[str, Any]:
    return {
        "limit_id": limit_id,
        "lease_id": new_id(),
        "slots": slots,
        "owner_id": NOBODY,
        "flow_run_id": None,
        "task_run_id": task_run_id,
        "acquired": now,
    }
