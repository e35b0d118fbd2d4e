"""The write-behind log of a process: appends cost a microsecond, one thread commits what has gathered.

Everything a process writes passes through here, control-plane operations too: one transaction at a time, in the order
in which things were said. Where to is the business of a `Transactions`. `benchmarks --only journal` guards the speed.
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
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from typing_extensions import override

from flowyard.exceptions import BackendError, LeaseLost, RecordsNotDurable
from flowyard.journal.batches import Entry, Operation, Segment, Source, cause_of, cut
from flowyard.journal.inbox import Inbox
from flowyard.ports import Journal, Lease, Recorder
from flowyard.schemas.events import JournalEvent

T = TypeVar("T")
C = TypeVar("C")
_logger = logging.getLogger("flowyard.journal")
# Entries of one transaction: longer ones would keep other processes from writing for more than about 0.2 s.
_MAX_BATCH = 10_000
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 2.0
_RECOVERY_SECONDS = 1.0


class Transactions(Protocol):
    """Where the journal writes, one transaction at a time. For the thread of the writer."""

    is_durable: bool
    """Whether the last commit waited for the disk. Any thread may look."""
    is_behind: bool
    """Whether something that was committed must be written again, elsewhere; `commit` is called for it now and then."""

    def commit(self, segments: list[Segment], *, is_careful: bool) -> list[LeaseLost]:
        """Write segments in one transaction and return the leases that are found lost with it.

        Whatever it raises, nothing was written; `abandon` is called then. Operations have their results, but are not
        answered.

        Args:
            segments: in the order in which they were said.
            is_careful: what cannot be stored is refused by itself, and costs the others nothing.
        """
        ...

    def abandon(self) -> None:
        """Forget a transaction that failed: what is in memory may not be what is on disk."""
        ...

    def is_transient(self, error: Exception) -> bool:
        """Say whether the same transaction may succeed a little later."""
        ...

    def fault(self, segments: list[Segment], error: BaseException) -> RecordsNotDurable:
        """Return the error that says what is not on disk, and what to do about it."""
        ...

    def disconnect(self) -> None:
        """Let go of what is open; the next commit opens it."""
        ...

    def drop_connection(self) -> None:
        """Let go of the connections of another process, without a word to them."""
        ...


class WriteBehindJournal(Journal, Generic[C]):
    """The one writer of a process.

    Args:
        transactions: where to write; operations get what it has opened.
        commit_interval: seconds that an event may wait for others before it is committed.
        max_pending: events that may wait; `append` blocks at more.
        give_up_seconds: how long a commit that fails for a passing reason (a full disk, a server that is away) is
            tried again before the journal says that it cannot write.
    """

    def __init__(
        self, transactions: Transactions, *, commit_interval: float, max_pending: int, give_up_seconds: float
    ) -> None:
        self._interval = commit_interval
        self._give_up_seconds = give_up_seconds
        self._inbox = Inbox(max_pending)
        self._outside = Source(None)
        # One source for a lease, however many recorders are asked for: order is kept within a source.
        self._sources: weakref.WeakValueDictionary[Lease, Source] = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)
        # This and `is_idle` of the inbox need no lock: see `_next_entries` and `barrier` for the order that saves it.
        self._is_busy = False
        self._is_recording = False
        self._is_closed = False
        self._is_forked = False
        self._dropped_in_fork = 0
        self._fault: RecordsNotDurable | None = None
        self._backlog: list[Segment] = []
        self._lost: deque[LeaseLost] = deque()
        self._urgency = threading.Event()
        self._room = threading.Condition()
        self._writer = transactions
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._write_forever, name="flowyard-journal", daemon=True)
        self._thread.start()
        atexit.register(self._at_exit)
        _close_in_forked_children(self)

    # --- the port -------------------------------------------------------------------------------------------

    @property
    def is_recording(self) -> bool:
        """Whether there was ever a recorder; otherwise nothing waits here but operations, whose callers wait too."""
        return self._is_recording

    @override
    def recorder(self, lease: Lease | None) -> Recorder:
        self._is_recording = True
        if lease is None:
            return WriteBehindRecorder(self, self._inbox, self._outside)
        source = self._sources.get(lease)
        if source is None:
            source = self._sources.setdefault(lease, Source(lease))
        return WriteBehindRecorder(self, self._inbox, source)

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
        if not self._inbox.pending and not self._is_busy and self._writer.is_durable and self._fault is None:
            return
        self.perform(None)

    def perform(self, act: Callable[[C], T] | None, *, flow_run_id: UUID | None = None, is_durable: bool = True) -> T:
        """Run `act` in the writer's transaction, after everything appended before; return when it is on disk.

        What `act` raises is raised here, and what it wrote is undone. It may be called more than once.

        Args:
            act: what to do with the connection; it must not commit. None to wait for what was appended.
            flow_run_id: the flow run it is about, for the message when it cannot be written.
            is_durable: False to return when it is committed: it survives the end of this process, and a loss of power
                only when something durable is committed after it.

        Raises:
            RecordsNotDurable: the transaction could not be committed; nothing of it will be later.
            ValueNotStorable: the database cannot take a value of it.
        """
        if threading.current_thread() is self._thread:
            raise BackendError("an operation of the journal cannot wait for another one: that would never end")
        operation: Operation[Any] = Operation(act, flow_run_id, is_durable=is_durable)
        self.enqueue(operation)
        return operation.wait()

    def enqueue(self, operation: Operation[Any]) -> None:
        """Let the writer do an operation after everything appended before; it is answered when that is on disk."""
        if self._is_closed or self._is_forked:
            raise BackendError(self._closed_message())
        self._inbox.pending.append(operation)
        self._urgency.set()
        self._inbox.wakeup.set()

    def close(self) -> None:
        """Write what is left and end the thread. Safe to call twice.

        Raises:
            RecordsNotDurable: not everything could be written.
        """
        if self._is_closed or self._is_forked:
            return
        try:
            self.leave()
            self.barrier()
        finally:
            self._is_closed = self._inbox.is_blocked = True
            self._urgency.set()
            self._inbox.wakeup.set()
            self._thread.join()
            atexit.unregister(self._at_exit)

    def leave(self) -> None:
        """Say that this process records nothing more."""

    # --- appending ------------------------------------------------------------------------------------------

    def append(self, source: Source, event: JournalEvent) -> None:
        """Queue an event: what `WriteBehindRecorder.append` does when it is not the usual case."""
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
        if len(self._inbox.pending) >= self._inbox.most and threading.current_thread() is not self._thread:
            self._wait_for_room()
        self._inbox.pending.append((source, event))
        if self._inbox.is_idle:
            self._inbox.wakeup.set()

    def _wait_for_room(self) -> None:
        self._urgency.set()
        with self._room:
            while len(self._inbox.pending) >= self._inbox.most and not self._inbox.is_blocked:
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
            if entries or self._backlog or self._writer.is_behind:
                try:
                    self._write(entries)
                except BaseException as error:
                    self._give_up([*self._backlog, *cut(entries, self._numbers)], error)
            # Not kept while the thread waits: the states in it hold the values of tasks.
            del entries
            self._is_busy = False
            with self._room:
                self._room.notify_all()
            if self._is_closed and not self._inbox.pending:
                break
        self._writer.disconnect()

    def _next_entries(self, last_taken: float) -> list[Entry]:
        """Wait until something is due and take it from the queue."""
        pending = self._inbox.pending
        if not pending and not self._is_closed:
            # First idle, then the look at the queue; `append` does it the other way round, so one of the two sees
            # the other. What is left from before is tried again now and then.
            self._inbox.is_idle = True
            if not pending and not self._is_closed:
                self._inbox.wakeup.wait(_RECOVERY_SECONDS if self._backlog or self._writer.is_behind else None)
            self._inbox.is_idle = False
            self._inbox.wakeup.clear()
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
                self._lost.extend(self._writer.commit(segments, is_careful=is_careful))
            except Exception as error:
                self._writer.abandon()
                if self._writer.is_transient(error):
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
            self._inbox.is_blocked = self._is_closed
        for segment in segments:
            if segment.operation is not None:
                segment.operation.answer()

    def _give_up(self, segments: list[Segment], error: BaseException) -> None:
        """Keep the events for later, answer the operations with the error, and take nothing more until it works."""
        fault = self._writer.fault(segments, error)
        self._backlog = [Segment(segment.groups, None) for segment in segments if segment.groups]
        # One line in the log is enough: who waits or appends from now on gets the error, with the newest number.
        _logger.log(logging.DEBUG if self._fault is not None else logging.ERROR, "%s", fault)
        self._fault = fault
        self._inbox.is_blocked = True
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
        self._is_forked = self._inbox.is_blocked = True
        self._inbox.pending = deque()
        self._writer.drop_connection()


class WriteBehindRecorder(Recorder):
    """Appends the events of one lease."""

    __slots__ = ("_inbox", "_journal", "_source")

    def __init__(self, journal: WriteBehindJournal[Any], inbox: Inbox, source: Source) -> None:
        self._journal = journal
        self._inbox = inbox
        self._source = source

    @override
    def append(self, event: JournalEvent) -> None:
        # The hot path, 0.3 microseconds: five times for every task run.
        inbox = self._inbox
        source = self._source
        pending = inbox.pending
        if inbox.is_blocked or source.fault is not None or len(pending) >= inbox.most:
            self._journal.append(source, event)
            return
        pending.append((source, event))
        if inbox.is_idle:
            inbox.wakeup.set()


def _again(fault: LeaseLost | RecordsNotDurable) -> BackendError:
    """Return a fresh copy to raise: one instance would gather the frames of all who got it, and keep what they hold."""
    copy = type(fault)(*fault.args)
    copy.__cause__ = fault.__cause__
    return copy


def _close_in_forked_children(journal: WriteBehindJournal[Any]) -> None:
    # A hook cannot be taken back; it must not keep the journal alive.
    reference = weakref.ref(journal)

    def close() -> None:
        alive = reference()
        if alive is not None:
            alive.close_in_child()

    if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
        os.register_at_fork(after_in_child=close)
