"""Concurrency limits in the database of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy.engine import Connection
from typing_extensions import override

from flowyard.journal.sql import SqlJournal
from flowyard.local.reading import Reader
from flowyard.ports.limits import LimitStore
from flowyard.rules.limits import check_limit
from flowyard.schemas.limits import ConcurrencyLimit, SlotAnswer, SlotHolder, SlotRequest
from flowyard.store import leases, limits, slots
from flowyard.store.database import Database
from flowyard.store.leases import Owner
from flowyard.store.ordering import Page
from flowyard.store.plain import PlainConnection

T = TypeVar("T")
_CHANGEABLE = ("active", "active_slots", "limit", "name", "slot_decay_per_second")
# A place in the queue is kept for `slot_calls.WAITER_SECONDS` after it was written.
_KEEP_PLACE_SECONDS = 3.0


class _Place(NamedTuple):
    """A place in the queues, as it was written last."""

    since: float
    task_run_id: UUID | None


class LocalLimits(LimitStore):
    """The ledger of slots; thread-safe.

    Denied requests are woken when it is their turn, whichever process gave the slots back. A request that is repeated
    costs a read until it can be granted.

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
        self._waiters = journal.slot_waiters
        self._queued: dict[UUID, _Place] = {}
        # A loss of power ends the processes of this machine, and with them what they hold; those that report to a
        # server go on. Waiting for the disk, twice a hand-over, was most of its time, and all of the rare long ones.
        self._is_durable = lease_seconds is not None

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
        self._waiters.reclaim()
        return self._read(lambda connection: limits.read(connection, name, datetime.now(UTC)))

    @override
    def read_many(self, *, limit: int = 200, offset: int = 0) -> list[ConcurrencyLimit]:
        self._waiters.reclaim()
        return self._read(lambda connection: limits.read_many(connection, datetime.now(UTC), Page(limit, offset)))

    @override
    def names(self, prefix: str = "") -> list[str]:
        return self._read(lambda connection: limits.names(connection, prefix))

    @override
    def holders(self, name: str) -> list[SlotHolder]:
        self._waiters.reclaim()
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

        return self._journal.execute(change)

    @override
    def delete(self, name: str) -> None:
        self._journal.execute(lambda connection: limits.remove(connection, name))

    # --- slots ----------------------------------------------------------------------------------------------------

    @override
    def acquire(self, request: SlotRequest, *, when_freed: Callable[[], None] | None = None) -> SlotAnswer:
        # Whoever was woken would see in the ledger what it was woken for.
        is_its_turn = self._waiters.take_call(request.lease_id)
        answer = None if is_its_turn else self._peek(request)
        if not is_its_turn and (answer is None or not answer.is_granted):
            self._waiters.reclaim()
        if answer is None or not self._is_enough(request, answer, is_called=when_freed is not None):
            answer = self._journal.perform(
                lambda connection: self._acquire(connection, request), is_durable=self._is_durable
            )
            if not answer.is_granted:
                self._queued[request.lease_id] = _Place(time.monotonic(), request.task_run_id)
                self._waiters.keep(request.lease_id)
        if answer.is_granted:
            self._forget([request.lease_id])
            return answer
        if when_freed is None:
            return answer
        self.watch(request.lease_id, when_freed)
        return replace(answer, is_called=True)

    @override
    def watch(self, lease_id: UUID, when_freed: Callable[[], None]) -> None:
        self._waiters.wait({lease_id: when_freed})

    @override
    def unwatch(self, lease_id: UUID) -> None:
        self._waiters.remove([lease_id])

    def _acquire(self, connection: PlainConnection, request: SlotRequest) -> SlotAnswer:
        now = datetime.now(UTC)
        # Others tell from this lease whether the process that holds the slots lives.
        seconds = self._lease_seconds
        expires = None if seconds is None else now + timedelta(seconds=seconds)
        leases.enter_process(connection, self._owner, now, expires=expires)
        return slots.acquire(connection, request, owner_id=self._owner.id, now=now)

    def _peek(self, request: SlotRequest) -> SlotAnswer | None:
        # No barrier: the ledger is never behind, and who waits asks often.
        return self._reader.plainly(lambda connection: slots.peek(connection, request, datetime.now(UTC)))

    def _is_enough(self, request: SlotRequest, answer: SlotAnswer, *, is_called: bool) -> bool:
        """Say whether a look was enough: nothing to take, or nothing to be had and the place in the queue is kept."""
        lease_id = request.lease_id
        if answer.is_granted:
            return not answer.takes_slots and lease_id not in self._queued
        if is_called or self._waiters.has_place(lease_id):
            return self._waiters.has_place(lease_id)
        place = self._queued.get(lease_id)
        return place is not None and time.monotonic() - place.since < _KEEP_PLACE_SECONDS

    @override
    def release(self, lease_ids: Sequence[UUID], occupancy_seconds: float | None = None) -> None:
        self._forget(lease_ids)
        self._journal.perform(
            lambda connection: slots.release(
                connection, lease_ids, occupancy_seconds=occupancy_seconds, now=datetime.now(UTC)
            ),
            is_durable=self._is_durable,
        )

    @override
    def release_of_runs(self, run_ids: Sequence[UUID]) -> None:
        waiting = [lease_id for lease_id, place in list(self._queued.items()) if place.task_run_id in run_ids]
        self._forget(waiting)

        def release(connection: PlainConnection) -> None:
            now = datetime.now(UTC)
            slots.release_of_runs(connection, run_ids, now=now)
            if waiting:
                slots.release(connection, waiting, occupancy_seconds=None, now=now)

        self._journal.perform(release, is_durable=self._is_durable)

    # --- how ------------------------------------------------------------------------------------------------------

    def _forget(self, lease_ids: Sequence[UUID]) -> None:
        self._waiters.remove(lease_ids)
        for lease_id in lease_ids:
            self._queued.pop(lease_id, None)

    def _read(self, query: Callable[[Connection], T]) -> T:
        # No barrier: the ledger is never behind, and who waits asks often.
        return self._reader(query, is_barrier=False)
