"""Who waits for slots in this process, and who wakes them: the bell of the database, and a look at the ledger."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from flowyard.exceptions import FlowyardError
from flowyard.services import ownership
from flowyard.store import leases, slot_calls, slots
from flowyard.store.database import Database
from flowyard.store.plain import PlainConnection

if TYPE_CHECKING:
    from flowyard.journal.sql import SqlJournal

T = TypeVar("T")
_LOOK_SECONDS = 1.0
"""How long a wake that got lost goes unnoticed."""
_LOOK_SECONDS_WHEN_DEAF = 0.05
_KEEP_SECONDS = 3.0
"""How often places in the queues are kept; they are lost after `slot_calls.WAITER_SECONDS`."""
_RECLAIM_SECONDS = 1.0
_logger = logging.getLogger("flowyard.limits")


class SlotWaiters:
    """The requests for slots that wait in this process. Thread-safe.

    One thread for all of them, which lives while somebody waits: it hears the bell, keeps their places in the queues,
    and looks once a second whose turn it is, so that a bell that was not heard costs no more than that.

    Args:
        database: where the ledger is.
        journal: its writer.
        owner_id: of this process.
    """

    def __init__(self, database: Database, journal: SqlJournal, owner_id: UUID) -> None:
        self._database = database
        self._journal = journal
        self._owner_id = owner_id
        self._lock = threading.Lock()
        self._waiting: dict[UUID, Callable[[], None]] = {}
        self._placed: set[UUID] = set()
        self._called: set[UUID] = set()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._next_reclaim = 0.0
        database.bell.when_rung = self.wake

    def wait(self, wakes: Mapping[UUID, Callable[[], None]]) -> None:
        """Have requests that are in the queues woken when they may be granted, and keep their places there.

        Args:
            wakes: by the lease ids of the requests; called from any thread, as often as it may be their turn, they must
                not raise or wait.
        """
        with self._lock:
            is_new = not wakes.keys() <= self._waiting.keys()
            self._waiting.update(wakes)
            self._placed.update(wakes)
            if self._thread is None and not self._is_closed:
                is_heard = self._database.bell.open()
                self._thread = threading.Thread(
                    target=self._listen, args=(is_heard,), name="flowyard-slot-waiters", daemon=True
                )
                self._thread.start()
        if is_new:
            self.look()  # their turn may have come before anybody could tell them

    def keep(self, lease_id: UUID) -> None:
        """Keep the place of a request that came into the queues again, if it waits here."""
        with self._lock:
            if lease_id in self._waiting:
                self._placed.add(lease_id)

    def take_call(self, lease_id: UUID) -> bool:
        """Say, once, whether a request was woken since it asked."""
        with self._lock:
            is_called = lease_id in self._called
            self._called.discard(lease_id)
            return is_called

    def has_place(self, lease_id: UUID) -> bool:
        """Say whether the place of a request is kept."""
        return lease_id in self._placed

    def remove(self, lease_ids: Iterable[UUID]) -> None:
        """Forget requests."""
        with self._lock:
            for lease_id in lease_ids:
                self._waiting.pop(lease_id, None)
                self._placed.discard(lease_id)
                self._called.discard(lease_id)

    def forget(self, wakes: Mapping[UUID, Callable[[], None]]) -> None:
        """Forget requests, but for those that are woken otherwise meanwhile."""
        self.remove([lease_id for lease_id, wake in wakes.items() if self._waiting.get(lease_id) is wake])

    def wake(self, lease_ids: Iterable[UUID]) -> None:
        """Wake those of these requests that wait here."""
        for lease_id in lease_ids:
            with self._lock:
                wake = self._waiting.get(lease_id)
                if wake is None:
                    continue
                self._called.add(lease_id)
            try:
                wake()
            except (
                Exception
            ):  # of whoever waits, and it must not cost the others their turns, nor the writer its thread
                _logger.exception("who waits for slots cannot be woken")

    def look(self) -> None:
        """Wake whose turn it is by the ledger.

        Raises:
            Exception: of the database: it cannot be read.
        """
        self.wake(self._read(lambda connection: slot_calls.find(connection, datetime.now(UTC))))

    def reclaim(self) -> None:
        """Take back what dead processes hold, at most once a second."""
        now = time.monotonic()
        with self._lock:
            if now < self._next_reclaim:
                return
            self._next_reclaim = now + _RECLAIM_SECONDS
        dead = self._dead_owners()
        if dead:
            self._journal.perform(lambda connection: slots.release_of_owners(connection, dead, now=datetime.now(UTC)))

    def close(self) -> None:
        """Wake nobody any more."""
        with self._lock:
            self._is_closed = True
            thread = self._thread
            self._database.bell.interrupt()
        if thread is not None:
            thread.join()

    # --- the thread -----------------------------------------------------------------------------------------------

    def _listen(self, is_heard: bool) -> None:
        bell = self._database.bell
        next_look = time.monotonic()
        next_keeping = next_look + _KEEP_SECONDS
        while True:
            now = time.monotonic()
            if now >= next_look:
                next_look = now + (_LOOK_SECONDS if is_heard else _LOOK_SECONDS_WHEN_DEAF)
                is_keeping = now >= next_keeping
                next_keeping = now + _KEEP_SECONDS if is_keeping else next_keeping
                self._tend(is_keeping=is_keeping)
                with self._lock:
                    if self._is_closed or not self._waiting:
                        bell.close()
                        self._thread = None
                        return
                if not is_heard and is_keeping:
                    bell.close()
                    is_heard = bell.open()
            try:
                self.wake(bell.hear(max(next_look - time.monotonic(), 0.0)))
            except OSError as error:
                _logger.debug("the bell of %s is not heard any more: %s", self._database.where, error)
                bell.close()
                is_heard = bell.open()
            if self._is_closed:
                next_look = 0.0

    def _tend(self, *, is_keeping: bool) -> None:
        if self._is_closed or not self._waiting:
            return
        try:
            if is_keeping:
                self._keep_places()
            self.reclaim()
            self.look()
        except (FlowyardError, *self._database.errors) as error:
            # Those who wait ask for themselves now and then, and are told.
            _logger.debug("cannot look whose turn it is: %s", error)

    def _keep_places(self) -> None:
        with self._lock:
            placed = list(self._placed)
        if not placed:
            return
        # As durable as the commit before it has to be: whoever waits asks again when a place is lost.
        lost = self._journal.perform(
            lambda connection: slot_calls.keep_places(connection, placed, datetime.now(UTC)), is_durable=False
        )
        with self._lock:
            self._placed.difference_update(lost)
        self.wake(lost)

    def _dead_owners(self) -> list[UUID]:
        found = self._read(slot_calls.owners)
        owners = [owner for owner in found if owner != self._owner_id]
        if not owners:
            return []
        now = datetime.now(UTC)
        there = self._read(lambda connection: leases.held(connection, not_by=self._owner_id))
        held = {lease.owner.id: lease for lease in there}
        is_shared_file = self._database.file is not None
        return [
            owner
            for owner in owners
            if owner not in held or not ownership.is_alive(held[owner], now=now, is_shared_file=is_shared_file)
        ]

    def _read(self, query: Callable[[PlainConnection], T]) -> T:
        if self._database.is_in_memory:  # one connection for all, and it is the writer's
            return self._journal.perform(query)
        with self._database.plain_reading() as connection:
            return query(connection)
