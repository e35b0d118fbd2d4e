"""The ledger of slots: who takes them, gives them back and waits for them. The limits themselves are in `limits`.

In SQL text, for every task under a limit comes here twice: through SQLAlchemy a hand-over took four times as long
(`benchmarks --only server-slots`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flowyard.rules.limits import LimitUse, average_occupancy, decay, decide_slots
from flowyard.schemas.limits import ConcurrencyLimit, SlotAnswer, SlotMode, SlotRequest
from flowyard.store import slot_calls
from flowyard.store.plain import PlainConnection
from flowyard.store.rows import Row
from flowyard.store.slot_calls import WAITER_SECONDS

# Of the queue of each limit: all who wait, those who came before a request, and its own place; and what it holds.
_USES = """
SELECT l.*,
  (SELECT coalesce(sum(s.slots), 0) FROM concurrency_slot s WHERE s.limit_id = l.id) AS taken,
  (SELECT coalesce(sum(w.slots), 0) FROM concurrency_waiter w WHERE w.limit_id = l.id AND w.seen > ?) AS wanted,
  (SELECT count(*) FROM concurrency_waiter w WHERE w.limit_id = l.id AND w.lease_id < ? AND w.seen > ?) AS earlier,
  (SELECT coalesce(sum(w.slots), 0) FROM concurrency_waiter w WHERE w.limit_id = l.id AND w.lease_id = ?) AS own,
  (SELECT count(*) FROM concurrency_slot s WHERE s.lease_id = ?) AS held
FROM concurrency_limit l WHERE l.name IN ({marks}) ORDER BY l.name
"""
_WAIT = (
    "INSERT INTO concurrency_waiter (limit_id, lease_id, slots, seen) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (limit_id, lease_id) DO UPDATE SET seen = excluded.seen"
)
_UNKNOWN = (
    "INSERT INTO concurrency_limit (id, name, slot_limit, active, slot_decay_per_second, avg_slot_occupancy_seconds, "
    "decaying_slots, decayed, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_AT_ONCE = 500
_HELD = """
SELECT s.slots, l.id, l.slot_limit, l.slot_decay_per_second, l.decaying_slots, l.decayed, l.avg_slot_occupancy_seconds
FROM concurrency_slot s JOIN concurrency_limit l ON l.id = s.limit_id WHERE {condition} ORDER BY l.name{lock}
"""


def limit_of(row: Any, now: datetime) -> ConcurrencyLimit:
    """Return a limit from its row, with `taken` and `wanted` slots beside its columns."""
    taken = row.taken
    if row.slot_decay_per_second > 0:
        taken = decay(row.decaying_slots, per_second=row.slot_decay_per_second, since=row.decayed, now=now)[0]
    return ConcurrencyLimit(
        name=row.name,
        limit=row.slot_limit,
        id=row.id,
        active=bool(row.active),
        active_slots=int(taken),
        denied_slots=int(row.wanted),
        slot_decay_per_second=row.slot_decay_per_second,
        avg_slot_occupancy_seconds=row.avg_slot_occupancy_seconds,
        created=row.created,
        updated=row.updated,
    )


def peek(connection: PlainConnection, request: SlotRequest, now: datetime) -> SlotAnswer | None:
    """Return what `acquire` would answer, without writing; None when a name is not known yet.

    Raises:
        SlotsOverLimit, RateLimitWithoutDecay: it can never be granted.
    """
    rows = _rows(connection, request, now)
    if len(rows) != len(set(request.names)):
        return None
    return decide_slots(request, [_use_of(row, now) for row in rows])


def acquire(
    connection: PlainConnection, request: SlotRequest, *, owner_id: UUID, now: datetime, is_queued: bool = True
) -> SlotAnswer:
    """Take the slots of a request, or put it into the queue of every limit it names; without `is_queued` only ask.

    Raises:
        SlotsOverLimit, RateLimitWithoutDecay: it can never be granted.
    """
    rows = _locked_rows(connection, request, now)
    unknown = set(request.names).difference(row.name for row in rows)
    if unknown:
        for name in sorted(unknown):
            limit = ConcurrencyLimit(name=name, limit=1, active=False)
            average = limit.avg_slot_occupancy_seconds
            connection.execute(_UNKNOWN, limit.id, name, 1, False, 0.0, average, 0, now, now, now)
        rows = _locked_rows(connection, request, now)
    if any(row.held for row in rows):
        return SlotAnswer(is_granted=True)
    uses = [_use_of(row, now) for row in rows]
    answer = decide_slots(request, uses)
    active = [use for use in uses if use.limit.active]
    if not answer.is_granted:
        for use in active if is_queued else ():
            connection.execute(_WAIT, use.limit.id, request.lease_id, request.slots, now)
        return answer
    if any(row.own for row in rows) and _leave_queue(connection, [request.lease_id]):
        slot_calls.note(connection)  # there may be room for the next one
    for use in active:
        _take(connection, use, request, owner_id=owner_id, now=now)
    return answer


def _locked_rows(connection: PlainConnection, request: SlotRequest, now: datetime) -> list[Row]:
    # In two statements: one that had to wait for a lock sees the slots as they were before it waited.
    marks = ", ".join("?" * len(request.names))
    connection.dialect.lock_slots(connection)
    _lock(connection, f"name IN ({marks})", request.names)
    return _rows(connection, request, now)


def _rows(connection: PlainConnection, request: SlotRequest, now: datetime) -> list[Row]:
    since, lease_id = now - timedelta(seconds=WAITER_SECONDS), request.lease_id
    query = _USES.replace("{marks}", ", ".join("?" * len(request.names)))
    return connection.rows(query, since, lease_id, since, lease_id, lease_id, *request.names)


def _use_of(row: Row, now: datetime) -> LimitUse:
    limit = limit_of(row, now)
    limit.denied_slots = max(limit.denied_slots - int(row.own), 0)
    seconds = 0.0
    if limit.slot_decay_per_second > 0:
        since = decay(row.decaying_slots, per_second=limit.slot_decay_per_second, since=row.decayed, now=now)[1]
        seconds = max((now - since).total_seconds(), 0.0)
    return LimitUse(limit, earlier_requests=row.earlier, seconds_since_decay=seconds)


def _take(connection: PlainConnection, use: LimitUse, request: SlotRequest, *, owner_id: UUID, now: datetime) -> None:
    limit = use.limit
    if limit.slot_decay_per_second > 0:
        decayed = now - timedelta(seconds=use.seconds_since_decay)
        changes = {"decaying_slots": limit.active_slots + request.slots, "decayed": decayed}
        connection.update("concurrency_limit", changes, "id = ?", limit.id)
    if request.mode is SlotMode.CONCURRENCY:
        connection.insert(
            "concurrency_slot",
            {
                "limit_id": limit.id,
                "lease_id": request.lease_id,
                "slots": request.slots,
                "owner_id": owner_id,
                "flow_run_id": request.flow_run_id,
                "task_run_id": request.task_run_id,
                "acquired": now,
            },
        )


def release(
    connection: PlainConnection, lease_ids: Sequence[UUID], *, occupancy_seconds: float | None, now: datetime
) -> bool:
    """Give back what was granted under these ids, and their places in the queue; True if there were slots."""
    condition = _among("lease_id", lease_ids)
    connection.dialect.lock_slots(connection)
    # Locked before anybody leaves: who gives slots back at the same time could still take it for the next one.
    _lock(connection, f"id IN (SELECT limit_id FROM concurrency_waiter WHERE {condition})", lease_ids)
    if _leave_queue(connection, lease_ids):
        slot_calls.note(connection)
    return _give_back(connection, condition, lease_ids, occupancy_seconds=occupancy_seconds, now=now)


def release_of_runs(connection: PlainConnection, run_ids: Sequence[UUID], *, now: datetime) -> bool:
    """Give back what flow runs or task runs hold; True if there were slots."""
    were_held = False
    for start in range(0, len(run_ids), _AT_ONCE):
        part = run_ids[start : start + _AT_ONCE]
        condition = f"({_among('flow_run_id', part)} OR {_among('task_run_id', part)})"
        were_held |= _give_back(connection, condition, [*part, *part], occupancy_seconds=None, now=now)
    return were_held


def release_of_owners(connection: PlainConnection, owner_ids: Sequence[UUID], *, now: datetime) -> None:
    """Give back what processes hold that are dead."""
    _give_back(connection, _among("owner_id", owner_ids), owner_ids, occupancy_seconds=None, now=now)


def _give_back(
    connection: PlainConnection,
    condition: str,
    values: Sequence[UUID],
    *,
    occupancy_seconds: float | None,
    now: datetime,
) -> bool:
    connection.dialect.lock_slots(connection)
    # The limits are locked in the order of their names, as `acquire` does.
    lock = f"{connection.dialect.row_lock} OF l" if connection.dialect.row_lock else ""
    rows = connection.rows(_HELD.replace("{condition}", condition).replace("{lock}", lock), *values)
    if not rows:
        return False
    connection.execute(f"DELETE FROM concurrency_slot WHERE {condition}", *values)
    slot_calls.note(connection)
    for row in rows:
        changes: dict[str, Any] = {}
        if row.slot_decay_per_second > 0:
            left, since = decay(row.decaying_slots, per_second=row.slot_decay_per_second, since=row.decayed, now=now)
            changes = {"decaying_slots": max(left - row.slots, 0), "decayed": since}
        if occupancy_seconds is not None:
            average = row.avg_slot_occupancy_seconds
            changes["avg_slot_occupancy_seconds"] = average_occupancy(
                average, limit=row.slot_limit, seconds=occupancy_seconds
            )
        if changes:
            connection.update("concurrency_limit", changes, "id = ?", row.id)
    return True


def _lock(connection: PlainConnection, condition: str, values: Sequence[object]) -> None:
    if connection.dialect.row_lock:
        # In the order of their names, so that two requests cannot wait for each other.
        query = f"SELECT id FROM concurrency_limit WHERE {condition} ORDER BY name{connection.dialect.row_lock}"
        connection.rows(query, *values)


def _leave_queue(connection: PlainConnection, lease_ids: Sequence[UUID]) -> bool:
    condition = _among("lease_id", lease_ids)
    return connection.execute(f"DELETE FROM concurrency_waiter WHERE {condition}", *lease_ids).rowcount > 0


def _among(column: str, ids: Sequence[UUID]) -> str:
    return f"{column} IN ({', '.join('?' * len(ids))})"
