"""Concurrency limits in the database of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.engine import Connection
from typing_extensions import override

from flowyard.journal.sql import SqlJournal
from flowyard.local.reading import Reader
from flowyard.ports.limits import LimitStore
from flowyard.rules.limits import check_limit
from flowyard.schemas.limits import ConcurrencyLimit, SlotAnswer, SlotHolder, SlotRequest
from flowyard.services import ownership
from flowyard.store import leases, limits
from flowyard.store.database import Database
from flowyard.store.leases import Owner
from flowyard.store.plain import PlainConnection

T = TypeVar("T")
_CHANGEABLE = ("active", "active_slots", "limit", "name", "slot_decay_per_second")
# A look at the processes that hold slots, while somebody waits for them.
_RECLAIM_SECONDS = 1.0
# A place in the queue is kept for `limits.WAITER_SECONDS` after it was written.
_KEEP_PLACE_SECONDS = 3.0


class LocalLimits(LimitStore):
    """The ledger of slots; thread-safe.

    Denied requests of this process are told at once when another thread gives slots back. A request that is repeated
    costs a read until it can be granted: a queue does not write.

    Args:
        database: where the ledger is.
        journal: its writer.
        owner: the process that the slots are for.
        lease_seconds: how long it holds them unless it renews its leases; None when its life is seen otherwise.
    """

    def __init__(
        self, database: Database, journal: SqlJournal, owner: Owner, *, lease_seconds: float | None = None
    ) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._journal = journal
        self._owner = owner
        self._reader = Reader(database, journal)
        self._lock = threading.Lock()
        self._waiting: dict[UUID, Callable[[], None]] = {}
        self._queued: dict[UUID, float] = {}
        self._next_reclaim = 0.0

    # --- limits ---------------------------------------------------------------------------------------------------

    @override
    def create(self, limit: ConcurrencyLimit) -> ConcurrencyLimit:
        check_limit(limit)

        def create(connection: Connection) -> ConcurrencyLimit:
            now = datetime.now(UTC)
            limits.create(connection, limit, now)
            return limits.read(connection, limit.name, now)

        return self._journal.execute(create)

    @override
    def read(self, name: str) -> ConcurrencyLimit:
        self._reclaim()
        return self._read(lambda connection: limits.read(connection, name, datetime.now(UTC)))

    @override
    def read_many(self, *, limit: int = 200, offset: int = 0) -> list[ConcurrencyLimit]:
        self._reclaim()
        return self._read(
            lambda connection: limits.read_many(connection, datetime.now(UTC), limit=limit, offset=offset)
        )

    @override
    def names(self, prefix: str = "") -> list[str]:
        return self._read(lambda connection: limits.names(connection, prefix))

    @override
    def holders(self, name: str) -> list[SlotHolder]:
        self._reclaim()
        return self._read(lambda connection: limits.holders(connection, name, datetime.now(UTC)))

    @override
    def update(self, name: str, **changes: Any) -> ConcurrencyLimit:
        unknown = sorted(set(changes) - set(_CHANGEABLE))
        if unknown:
            raise ValueError(f"cannot change {unknown!r} of a concurrency limit; what can be: {list(_CHANGEABLE)!r}")

        def change(connection: Connection) -> ConcurrencyLimit:
            now = datetime.now(UTC)
            limit = limits.read(connection, name, now)
            if changes.get("active_slots") and limit.slot_decay_per_second <= 0:
                raise ValueError(
                    f"active_slots={changes['active_slots']!r} cannot be set for limit {limit.name!r}, whose slots are "
                    "those that somebody holds; 0 takes them all back"
                )
            for attribute, value in changes.items():
                setattr(limit, attribute, value)
            check_limit(limit)
            limits.store(connection, limit, now, frees_all=changes.get("active_slots") == 0)
            return limits.read(connection, str(limit.id), now)

        changed = self._journal.execute(change)
        self._wake()
        return changed

    @override
    def delete(self, name: str) -> None:
        self._journal.execute(lambda connection: limits.remove(connection, name))
        self._wake()

    # --- slots ----------------------------------------------------------------------------------------------------

    @override
    def acquire(self, request: SlotRequest, *, when_freed: Callable[[], None] | None = None) -> SlotAnswer:
        # Registered first: slots that come back between the answer and the registration would be missed.
        if when_freed is not None:
            self._waiting[request.lease_id] = when_freed
        answer = self._peek(request)
        if answer is None or not answer.is_granted:
            self._reclaim()
        if answer is None or not self._is_enough(request, answer):
            answer = self._journal.perform(lambda connection: self._acquire(connection, request))
            self._queued[request.lease_id] = time.monotonic()
        if answer.is_granted:
            self._waiting.pop(request.lease_id, None)
            self._queued.pop(request.lease_id, None)
        return answer

    def _acquire(self, connection: PlainConnection, request: SlotRequest) -> SlotAnswer:
        now = datetime.now(UTC)
        # Others tell from this lease whether the process that holds the slots lives.
        seconds = self._lease_seconds
        expires = None if seconds is None else now + timedelta(seconds=seconds)
        leases.enter_process(connection, self._owner, now, expires=expires)
        return limits.acquire(connection.core, connection.dialect, request, owner_id=self._owner.id, now=now)

    def _peek(self, request: SlotRequest) -> SlotAnswer | None:
        return self._read(lambda connection: limits.peek(connection, request, datetime.now(UTC)))

    def _is_enough(self, request: SlotRequest, answer: SlotAnswer) -> bool:
        """Say whether a look was enough: nothing to take, or nothing to be had and the place in the queue is kept."""
        if answer.is_granted:
            return not answer.takes_slots
        return time.monotonic() - self._queued.get(request.lease_id, -_KEEP_PLACE_SECONDS) < _KEEP_PLACE_SECONDS

    @override
    def release(self, lease_ids: Sequence[UUID], occupancy_seconds: float | None = None) -> None:
        for lease_id in lease_ids:
            self._waiting.pop(lease_id, None)
            self._queued.pop(lease_id, None)
        self._journal.execute(
            lambda connection: limits.release(
                connection, lease_ids, occupancy_seconds=occupancy_seconds, now=datetime.now(UTC)
            )
        )
        self._wake()

    @override
    def release_of_runs(self, run_ids: Sequence[UUID]) -> None:
        if self._journal.execute(lambda connection: limits.release_of_runs(connection, run_ids, now=datetime.now(UTC))):
            self._wake()

    # --- how ------------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._lock:
            waiting, self._waiting = list(self._waiting.values()), {}
        for when_freed in waiting:
            when_freed()

    def _reclaim(self) -> None:
        """Take back what dead processes hold, at most once a second."""
        now = time.monotonic()
        with self._lock:
            if now < self._next_reclaim:
                return
            self._next_reclaim = now + _RECLAIM_SECONDS
        dead = self._dead_owners()
        if dead:
            self._journal.execute(lambda connection: limits.release_of_owners(connection, dead, now=datetime.now(UTC)))
            self._wake()

    def _dead_owners(self) -> list[UUID]:
        owners = [owner for owner in self._read(limits.owners) if owner != self._owner.id]
        if not owners:
            return []
        now = datetime.now(UTC)
        found = self._reader.plainly(lambda connection: leases.held(connection, not_by=self._owner.id))
        held = {lease.owner.id: lease for lease in found}
        is_shared_file = self._database.file is not None
        return [
            owner
            for owner in owners
            if owner not in held or not ownership.is_alive(held[owner], now=now, is_shared_file=is_shared_file)
        ]

    def _read(self, query: Callable[[Connection], T]) -> T:
        # No barrier: the ledger is never behind, and who waits asks often.
        return self._reader(query, is_barrier=False)
