"""What waits in the journal's queue, cut into the pieces that are committed together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar, cast
from uuid import UUID

from flowyard.exceptions import LeaseLost, RecordsNotDurable
from flowyard.ports import Lease
from flowyard.schemas.events import JournalEvent

A = TypeVar("A")
T = TypeVar("T")


class Share(Generic[A, T]):
    """One caller's share in what is done for many callers at once: an `act` of operations.

    The writer takes those of one transaction together. They may change places with other operations: nobody who waits
    for one of them can know of the others.

    Args:
        do_all: does it for many, with the writer's connection; returns what became of each, in their order: its result,
            or an error of its own, for which nothing was written. What it raises is everybody's: all is undone, and
            each is done by itself.
        wish: what this caller wants.
    """

    __slots__ = ("do_all", "wish")

    def __init__(self, do_all: Callable[[Any, Sequence[A]], Sequence[T | Exception]], wish: A) -> None:
        self.do_all = do_all
        self.wish = wish

    def __call__(self, connection: Any) -> T:
        """Do it for this caller alone."""
        (result,) = self.do_all(connection, [self.wish])
        if isinstance(result, Exception):
            raise result
        return result


class Operation(Generic[T]):
    """Something to do on the writer thread, in its place among the events, and the answer to whoever waits for it."""

    __slots__ = ("_done", "_error", "_result", "act", "flow_run_id", "is_durable")

    def __init__(
        self, act: Callable[[Any], T] | None, flow_run_id: UUID | None = None, *, is_durable: bool = True
    ) -> None:
        self.act = act
        """None for a mere barrier. It may be called again when the transaction fails and is tried again."""
        self.flow_run_id = flow_run_id
        self.is_durable = is_durable
        """Whether it shall survive a loss of power; otherwise only the end of the process."""
        self._result: T | None = None
        self._error: BaseException | None = None
        # A lock is the cheapest thing to wait for, and the wait can be interrupted by a signal.
        self._done = threading.Lock()
        self._done.acquire()

    def keep(self, result: T | None, error: BaseException | None) -> None:
        """Note the outcome; nobody sees it before `answer`."""
        self._result = result
        self._error = error

    def answer(self) -> None:
        """Let the waiting thread go on."""
        self._done.release()

    def wait(self) -> T:
        """Return the result once it is committed, or raise what the operation raised."""
        self._done.acquire()
        if self._error is not None:
            raise self._error
        return self._result  # pyright: ignore[reportReturnType]  only T when there was no error


def share_of(operation: Operation[Any]) -> Share[Any, Any] | None:
    """Return what an operation has a share in; None when it is by itself."""
    act: object = operation.act
    return cast("Share[Any, Any]", act) if isinstance(act, Share) else None


class Source:
    """Where events come from: the state that the journal keeps for one lease."""

    __slots__ = ("__weakref__", "fault", "lease")

    def __init__(self, lease: Lease | None) -> None:
        self.lease = lease
        self.fault: LeaseLost | RecordsNotDurable | None = None
        """Why nothing is taken from this source any more."""


class Group:
    """Events of one source that are committed together, under one sequence number."""

    __slots__ = ("batch", "events", "source")

    def __init__(self, source: Source, batch: int) -> None:
        self.source = source
        self.batch = batch
        self.events: list[JournalEvent] = []


class Segment:
    """Events, and the operation that comes after them."""

    __slots__ = ("groups", "operation")

    def __init__(self, groups: list[Group], operation: Operation[Any] | None) -> None:
        self.groups = groups
        self.operation = operation


Entry = tuple[Source, JournalEvent] | Operation[Any]


def cut(entries: Iterable[Entry], numbers: Iterator[int]) -> list[Segment]:
    """Sort what was queued into segments. Order is kept within a source, and between everything and operations.

    Args:
        entries: in the order in which they were queued.
        numbers: gives growing sequence numbers; one iterator for the life of a process.
    """
    segments: list[Segment] = []
    groups: dict[Source, Group] = {}
    source: Source | None = None
    events: list[JournalEvent] = []
    for entry in entries:
        if isinstance(entry, Operation):
            segments.append(Segment(list(groups.values()), entry))
            groups = {}
            source = None
            continue
        if entry[0] is not source:
            source = entry[0]
            group = groups.get(source)
            if group is None:
                group = groups[source] = Group(source, next(numbers))
            events = group.events
        events.append(entry[1])
    if groups:
        segments.append(Segment(list(groups.values()), None))
    return segments


def not_durable(segments: Iterable[Segment], cause: str, *advice: str) -> RecordsNotDurable:
    """Return the error that says what of these segments is not on disk, and what to do about it if that is known."""
    records = 0
    runs: dict[str, None] = {}
    for segment in segments:
        for group in segment.groups:
            records += len(group.events)
            if group.source.lease is not None:
                runs[str(group.source.lease.flow_run_id)] = None
        if segment.operation is not None and segment.operation.act is not None:
            records += 1
            if segment.operation.flow_run_id is not None:
                runs[str(segment.operation.flow_run_id)] = None
    return RecordsNotDurable(records, tuple(runs), cause, *advice)


def cause_of(error: BaseException) -> str:
    """Return the driver's own words for an error, in one line."""
    return f"{type(error).__name__}: {getattr(error, 'orig', None) or error}"
