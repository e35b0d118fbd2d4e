"""Which requests for slots are to be woken: the first of each queue whose turn it is.

Whatever changes the ledger notes that on its connection, and the writer asks before it commits who is next. So a freed
slot wakes one request, however many wait; and when that one has its slots, the next one is woken if there is room.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from flowyard.store.plain import PlainConnection
from flowyard.store.rows import read_id

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

NOBODY = UUID(int=0)
"""Holds slots for callers whose life nobody sees: they come back when they are given back, and not before."""
WAITER_SECONDS = 10.0
"""A request whose place was not kept for so long has lost it."""
_FORGOTTEN_SECONDS = 600.0
_NOTE = "flowyard_slot_calls"
_AT_ONCE = 500
# The first of each queue, and those who need not wait any more. `places`: in how many queues it stands.
_NEXT = """
SELECT w.lease_id, w.slots, l.active, l.slot_limit, l.slot_decay_per_second,
  (SELECT coalesce(sum(s.slots), 0) FROM concurrency_slot s WHERE s.limit_id = l.id) AS taken,
  (SELECT count(*) FROM concurrency_waiter o WHERE o.lease_id = w.lease_id) AS places
FROM concurrency_waiter w JOIN concurrency_limit l ON l.id = w.limit_id
WHERE w.seen > ? AND (NOT l.active OR w.slots > l.slot_limit OR NOT EXISTS (
  SELECT 1 FROM concurrency_waiter e WHERE e.limit_id = w.limit_id AND e.lease_id < w.lease_id AND e.seen > ?))
"""


def note(connection: Connection | PlainConnection, lease_ids: Iterable[UUID] = ()) -> None:
    """Say that the ledger was changed in this transaction; requests that wait for nothing any more are to be woken."""
    connection.info.setdefault(_NOTE, set()).update(lease_ids)


def due(connection: PlainConnection, now: datetime) -> Sequence[UUID]:
    """Return whom to wake when this transaction is committed; nobody unless the ledger was changed in it."""
    noted: set[UUID] | None = connection.info.pop(_NOTE, None)
    in_core: set[UUID] | None = connection.core.info.pop(_NOTE, None) if connection.has_core else None
    if noted is None and in_core is None:
        return ()
    return list({*(noted or ()), *(in_core or ()), *find(connection, now)})


def find(connection: PlainConnection, now: datetime) -> Sequence[UUID]:
    """Return the requests whose turn it is, or that can never be granted and have to be told."""
    since = now - timedelta(seconds=WAITER_SECONDS)
    free: dict[UUID, int] = {}
    found: list[UUID] = []
    for row in connection.rows(_NEXT, since, since):
        lease_id = read_id(row.lease_id)
        if row.active and row.slots > row.slot_limit:
            found.append(lease_id)
            continue
        # The first who waits for slots that come back by themselves knows when, once it knows that it is the first.
        has_room = not row.active or row.slot_decay_per_second > 0 or row.taken + row.slots <= row.slot_limit
        if has_room:
            free[lease_id] = free.get(lease_id, 0) + 1
            if free[lease_id] == row.places:
                found.append(lease_id)
    return found


def keep_places(connection: PlainConnection, lease_ids: Sequence[UUID], now: datetime) -> Collection[UUID]:
    """Keep the places of requests in their queues; return those that have none (any more)."""
    missing = set(lease_ids)
    for start in range(0, len(lease_ids), _AT_ONCE):
        part = lease_ids[start : start + _AT_ONCE]
        where = f"lease_id IN ({', '.join('?' * len(part))})"
        connection.execute(f"UPDATE concurrency_waiter SET seen = ? WHERE {where}", now, *part)
        found = connection.rows(f"SELECT DISTINCT lease_id FROM concurrency_waiter WHERE {where}", *part)
        missing.difference_update(read_id(row.lease_id) for row in found)
    connection.execute("DELETE FROM concurrency_waiter WHERE seen < ?", now - timedelta(seconds=_FORGOTTEN_SECONDS))
    return missing


def owners(connection: PlainConnection) -> Collection[UUID]:
    """Return the processes that hold slots."""
    rows = connection.rows("SELECT DISTINCT owner_id FROM concurrency_slot WHERE owner_id <> ?", NOBODY)
    return [row.owner_id for row in rows]
