"""The journal on a database; see `write_behind` for how it works."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from typing_extensions import override

from flowyard.journal.emission import Emission
from flowyard.journal.group_commit import GroupCommit
from flowyard.journal.write_behind import WriteBehindJournal
from flowyard.schemas.events import JournalEvent
from flowyard.store import leases
from flowyard.store.database import Database
from flowyard.store.plain import PlainConnection
from flowyard.store.refusals import refusal_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from flowyard.journal.slot_waiters import SlotWaiters

T = TypeVar("T")


class SqlJournal(WriteBehindJournal[PlainConnection]):
    """The one writer of a process.

    Args:
        database: where to write.
        owner: this process.
        commit_interval: see `WriteBehindJournal`, and for the others too.
        max_pending: see there.
        give_up_seconds: see there.
    """

    def __init__(
        self,
        database: Database,
        owner: leases.Owner,
        *,
        commit_interval: float = 0.05,
        max_pending: int = 100_000,
        give_up_seconds: float = 15.0,
    ) -> None:
        self._database = database
        self._owner = owner
        self._slot_waiters: SlotWaiters | None = None
        self._making = threading.Lock()
        self._transactions = GroupCommit(database, owner)
        super().__init__(
            self._transactions,
            commit_interval=commit_interval,
            max_pending=max_pending,
            give_up_seconds=give_up_seconds,
        )

    @override
    def perform(
        self,
        act: Callable[[PlainConnection], T] | None,
        *,
        flow_run_id: UUID | None = None,
        is_durable: bool = True,
    ) -> T:
        try:
            return super().perform(act, flow_run_id=flow_run_id, is_durable=is_durable)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            raise refusal from error

    @property
    def slot_waiters(self) -> SlotWaiters:
        """What wakes the requests for slots that wait in this process."""
        with self._making:
            waiters = self._slot_waiters
            if waiters is None:
                # By name: few flows have limits.
                module = importlib.import_module("flowyard.journal.slot_waiters")
                made: SlotWaiters = module.SlotWaiters(self._database, self, self._owner.id)
                waiters = self._slot_waiters = made
            return waiters

    def execute(self, act: Callable[[Connection], T], *, flow_run_id: UUID | None = None, is_durable: bool = True) -> T:
        """Do what `perform` does, with SQLAlchemy's connection."""
        _ = self._database.engine  # loaded here, not in a transaction that others wait for
        return self.perform(lambda connection: act(connection.core), flow_run_id=flow_run_id, is_durable=is_durable)

    @override
    def leave(self) -> None:
        if self._transactions.has_entered:
            owner_id = self._owner.id
            self.perform(lambda connection: leases.leave(connection, owner_id))

    def emit_events(self, emission: Emission) -> None:
        """Let what is written from now on have events."""
        self.perform(lambda _: setattr(self._transactions, "emission", emission))

    # --- for operations, on the writer thread ---------------------------------------------------------------

    def apply(self, connection: PlainConnection, events: Sequence[JournalEvent]) -> None:
        """Write the events of another process, in an operation.

        Raises:
            Exception: something in them cannot be stored; the operation must raise it too.
        """
        projection = self._transactions.projection
        assert projection is not None  # there is one in every transaction
        try:
            projection.apply(connection, events)
        except Exception:
            projection.forget_all()
            raise

    def forget(self, flow_run_ids: Collection[UUID]) -> None:
        """Say that an operation changed the task runs of these flow runs."""
        if self._transactions.projection is not None:
            self._transactions.projection.forget(flow_run_ids)

    def note_run_count(self, flow_run_id: UUID, run_count: int) -> None:
        """Say which attempt of a flow run has begun."""
        if self._transactions.projection is not None:
            self._transactions.projection.note_run_count(flow_run_id, run_count)

    # --- the end ----------------------------------------------------------------------------------------------

    @override
    def close(self) -> None:
        if self._slot_waiters is not None and not self._is_forked:
            self._slot_waiters.close()
        super().close()

    @override
    def close_in_child(self) -> None:
        super().close_in_child()
        self._database.forget_connections()
