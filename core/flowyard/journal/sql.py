"""The journal on a database: appends cost a microsecond, one thread commits what has gathered.

Everything a process writes passes through here, control-plane operations too: one transaction at a time, in the order
in which things were said. `benchmarks --only journal` guards the speed.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from typing_extensions import override

from flowyard.exceptions import BackendError, LeaseLost, RecordsNotDurable
from flowyard.journal.batches import Entry, Operation, Segment, Source, cut, not_durable
from flowyard.journal.group_commit import GroupCommit, cause_of
from flowyard.ports import Journal, Lease, Recorder
from flowyard.schemas.events import JournalEvent
from flowyard.store import leases
from flowyard.store.database import Database
from flowyard.store.plain import PlainConnection

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
_logger = logging.getLogger("flowyard.journal")
# Entries of one transaction: longer ones would keep other processes from writing for more than about 0.2 s.
_MAX_BATCH = 10_000
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_RECOVERY_SECONDS = 1.0


class SqlJournal(Journal):
    """The one writer of a process.

    Args:
        database: where to write.
        owner: this process.
        commit_interval: seconds that an event may wait for others before it is committed.
        max_pending: events that may wait; `append` blocks at more.
        give_up_seconds: how long a commit that fails for a passing reason (a full disk, a server that is away) is
            tried again before the journal says that it cannot write.
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
        self._interval = commit_interval
        self._max_pending = max_pending
        self._give_up_seconds = give_up_seconds
        self._pending: deque[Entry] = deque()
        self._outside = Source(None)
        # One source for a lease, however many recorders are asked for: order is kept within a source.
        self._sources: weakref.WeakValueDictionary[Lease, Source] = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)
        # `_is_idle` and `_is_busy` need no lock: see `_next_entries` and `flush` for the order that makes them safe.
        self._is_idle = False
        self._is_busy = False
        self._is_closed = False
        self._is_forked = False
        self._dropped_in_fork = 0
        self._is_blocked = False
        """One look on the hot path for: there is a fault, or the journal is closed, or this is a forked child."""
        self._fault: RecordsNotDurable | None = None
        self._backlog: list[Segment] = []
        self._lost: deque[LeaseLost] = deque()
        self._wakeup = threading.Event()
        self._urgency = threading.Event()
        self._room = threading.Condition()
        self._transactions = GroupCommit(database, owner)
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._write_forever, name="flowyard-journal", daemon=True)
        self._thread.start()
        atexit.register(self._at_exit)
        _close_in_forked_children(self)

    # --- the port -------------------------------------------------------------------------------------------

    @override
    def recorder(self, lease: Lease | None) -> Recorder:
        if lease is None:
            return SqlRecorder(self, self._outside)
        source = self._sources.get(lease)
        if source is None:
            source = self._sources.setdefault(lease, Source(lease))
        return SqlRecorder(self, source)

    @override
    def flush(self) -> None:
        self.barrier()
        # Said once: a flow run that was lost is no reason to stop the others of this process.
        if self._lost:
            raise self._lost.popleft()

    def barrier(self) -> None:
        """Do what `flush` does, but say nothing about lost leases: for reads.

        Raises:
            RecordsNotDurable: something could not be written.
        """
        if self._is_closed or self._is_forked:
            raise BackendError(self._closed_message())
        # In this order: the writer is busy before it takes entries, and until they are committed.
        if not self._pending and not self._is_busy and self._transactions.is_durable and self._fault is None:
            return
        self.perform(None)

    def execute(self, act: Callable[[Connection], T], *, flow_run_id: UUID | None = None) -> T:
        """Do what `perform` does, with SQLAlchemy's connection."""
        _ = self._database.engine  # loaded here, not in a transaction that others wait for
        return self.perform(lambda connection: act(connection.core), flow_run_id=flow_run_id)

    def perform(self, act: Callable[[PlainConnection], T] | None, *, flow_run_id: UUID | None = None) -> T:
        """Run `act` in the writer's transaction, after everything appended before; return when it is on disk.

        What `act` raises is raised here, and what it wrote is undone. It may be called more than once.

        Args:
            act: what to do with the connection; it must not commit. None to wait for what was appended.
            flow_run_id: the flow run it is about, for the message when it cannot be written.

        Raises:
            RecordsNotDurable: the transaction could not be committed; nothing of it will be later.
        """
        if self._is_closed or self._is_forked:
            raise BackendError(self._closed_message())
        if threading.current_thread() is self._thread:
            raise BackendError("an operation of the journal cannot wait for another one: that would never end")
        operation: Operation[Any] = Operation(act, flow_run_id)
        self._pending.append(operation)
        self._urgency.set()
        self._wakeup.set()
        return operation.wait()

    def close(self) -> None:
        """Write what is left and end the thread. Safe to call twice.

        Raises:
            RecordsNotDurable: not everything could be written.
        """
        if self._is_closed or self._is_forked:
            return
        try:
            if self._transactions.has_entered:
                owner_id = self._owner.id
                self.perform(lambda connection: leases.leave(connection, owner_id))
            self.barrier()
        finally:
            self._is_closed = self._is_blocked = True
            self._urgency.set()
            self._wakeup.set()
            self._thread.join()
            atexit.unregister(self._at_exit)

    # --- for operations, on the writer thread ---------------------------------------------------------------

    def forget(self, flow_run_ids: Collection[UUID]) -> None:
        """Say that an operation changed the task runs of these flow runs."""
        if self._transactions.projection is not None:
            self._transactions.projection.forget(flow_run_ids)

    def note_run_count(self, flow_run_id: UUID, run_count: int) -> None:
        """Say which attempt of a flow run has begun."""
        if self._transactions.projection is not None:
            self._transactions.projection.note_run_count(flow_run_id, run_count)

    # --- appending ------------------------------------------------------------------------------------------

    def append(self, source: Source, event: JournalEvent) -> None:
        """Queue an event: what `SqlRecorder.append` does when it is not the usual case."""
        if self._is_forked:
            if not self._dropped_in_fork:
                _logger.warning(
                    "this process was forked from process %d, which records what happens in its runs; what happens "
                    "here is not recorded. Start processes with the 'spawn' method, or use ProcessPoolTaskRunner.",
                    self._pid,
                )
            self._dropped_in_fork += 1
            return
        if self._is_closed:
            raise BackendError(self._closed_message())
        if source.fault is not None:
            raise _again(source.fault)
        if self._fault is not None:
            raise _again(self._fault)
        if len(self._pending) >= self._max_pending and threading.current_thread() is not self._thread:
            self._wait_for_room()
        self._pending.append((source, event))
        if self._is_idle:
            self._wakeup.set()

    def _wait_for_room(self) -> None:
        self._urgency.set()
        with self._room:
            while len(self._pending) >= self._max_pending and not self._is_blocked:
                # The time-out is for a writer that dies with the interpreter; the usual way out is `notify_all`.
                self._room.wait(1.0)
        if self._fault is not None:
            raise _again(self._fault)

    def _closed_message(self) -> str:
        if self._is_forked:
            return (
                f"this process was forked from process {self._pid}, and a forked process cannot use its parent's state "
                "backend; start child processes with the 'spawn' method, or use ProcessPoolTaskRunner"
            )
        return "the journal is closed; open the state backend again with `flowyard.ports.open_backend`"

    # --- the writer thread ------------------------------------------------------------------------------------

    def _write_forever(self) -> None:
        taken = time.monotonic()
        while True:
            entries = self._next_entries(taken)
            taken = time.monotonic()
            if entries or self._backlog:
                try:
                    self._write(entries)
                except BaseException as error:
                    self._give_up([*self._backlog, *cut(entries, self._numbers)], error)
            # Not kept while the thread waits: the states in it hold the values of tasks.
            del entries
            self._is_busy = False
            with self._room:
                self._room.notify_all()
            if self._is_closed and not self._pending:
                break
        self._transactions.disconnect()

    def _next_entries(self, last_taken: float) -> list[Entry]:
        """Wait until something is due and take it from the queue."""
        pending = self._pending
        if not pending and not self._is_closed:
            # First idle, then the look at the queue; `append` does it the other way round, so one of the two sees
            # the other. While there is a backlog it is tried again now and then.
            self._is_idle = True
            if not pending and not self._is_closed:
                self._wakeup.wait(_RECOVERY_SECONDS if self._backlog else None)
            self._is_idle = False
            self._wakeup.clear()
            last_taken = time.monotonic()
        remaining = last_taken + self._interval - time.monotonic()
        if remaining > 0 and not self._is_closed:
            self._urgency.wait(remaining)
        self._urgency.clear()
        self._is_busy = True
        take = pending.popleft
        return [take() for _ in range(min(len(pending), _MAX_BATCH))]

    def _write(self, entries: list[Entry]) -> None:
        segments = [*self._backlog, *cut(entries, self._numbers)]
        patience = 0.0 if self._backlog else self._give_up_seconds
        deadline = time.monotonic() + patience
        pause = _FIRST_PAUSE_SECONDS
        is_careful = False
        while True:
            try:
                self._lost.extend(self._transactions.commit(segments, is_careful=is_careful))
            except Exception as error:
                self._transactions.abandon()
                if self._transactions.is_transient(error):
                    if time.monotonic() + pause > deadline or self._is_closed:
                        self._give_up(segments, error)
                        return
                    _logger.warning("could not commit, trying again in %.2f s: %s", pause, cause_of(error))
                    time.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                elif not is_careful:
                    # Something in it cannot be stored at all. The others shall not pay for it.
                    is_careful = True
                else:
                    self._give_up(segments, error)
                    return
            else:
                break
        self._backlog = []
        if self._fault is not None:
            _logger.warning("the state backend can be written again; nothing that was accepted is missing")
            self._fault = None
            self._is_blocked = self._is_closed
        for segment in segments:
            if segment.operation is not None:
                segment.operation.answer()

    def _give_up(self, segments: list[Segment], error: BaseException) -> None:
        """Keep the events for later, answer the operations with the error, and take nothing more until it works."""
        advice: list[str] = []
        if isinstance(error, self._database.errors):
            advice.append(self._database.unavailable(error).advice)
        fault = not_durable(segments, f"{cause_of(error)} (in {self._database.where})", *advice)
        # Not SQLAlchemy's own error: it quotes the statement, which can have a thousand rows. And not the frames of the
        # driver's: they are always the same.
        cause: BaseException = getattr(error, "orig", None) or error
        fault.__cause__ = cause.with_traceback(None) if isinstance(error, self._database.errors) else cause
        self._backlog = [Segment(segment.groups, None) for segment in segments if segment.groups]
        # One line in the log is enough: who waits or appends from now on gets the error, with the newest number.
        _logger.log(logging.DEBUG if self._fault is not None else logging.ERROR, "%s", fault)
        self._fault = fault
        self._is_blocked = True
        for segment in segments:
            if segment.operation is not None:
                segment.operation.keep(None, _again(fault))
                segment.operation.answer()

    # --- the end ----------------------------------------------------------------------------------------------

    def _at_exit(self) -> None:
        if os.getpid() != self._pid or self._is_closed:
            return
        try:
            self.close()
        except RecordsNotDurable as error:
            _logger.error("at exit: %s", error)

    def close_in_child(self) -> None:
        """Become useless, in a process that was forked from the one that owns this journal."""
        self._is_forked = self._is_blocked = True
        self._pending = deque()
        self._transactions.drop_connection()
        self._database.forget_connections()


class SqlRecorder(Recorder):
    """Appends the events of one lease."""

    __slots__ = ("_journal", "_source")

    def __init__(self, journal: SqlJournal, source: Source) -> None:
        self._journal = journal
        self._source = source

    @override
    def append(self, event: JournalEvent) -> None:
        # The hot path, 0.3 microseconds: five times for every task run.
        journal = self._journal
        source = self._source
        pending = journal._pending  # pyright: ignore[reportPrivateUsage]
        if (
            journal._is_blocked  # pyright: ignore[reportPrivateUsage]
            or source.fault is not None
            or len(pending) >= journal._max_pending  # pyright: ignore[reportPrivateUsage]
        ):
            journal.append(source, event)
            return
        pending.append((source, event))
        if journal._is_idle:  # pyright: ignore[reportPrivateUsage]
            journal._wakeup.set()  # pyright: ignore[reportPrivateUsage]


def _again(fault: LeaseLost | RecordsNotDurable) -> BackendError:
    """Return a fresh copy to raise: one instance would gather the frames of all who got it, and keep what they hold."""
    copy = type(fault)(*fault.args)
    copy.__cause__ = fault.__cause__
    return copy


def _close_in_forked_children(journal: SqlJournal) -> None:
    # A hook cannot be taken back; it must not keep the journal alive.
    reference = weakref.ref(journal)

    def close() -> None:
        alive = reference()
        if alive is not None:
            alive.close_in_child()

    if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
        os.register_at_fork(after_in_child=close)
