"""What `Task.map` returns, and waiting for several futures."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, Self, cast, overload

from typing_extensions import TypeVar, override

from flowyard.context import current
from flowyard.engine.mapping import Compact, Feed
from flowyard.engine.scope import dynamic_key_of
from flowyard.engine.submission import wait_politely
from flowyard.futures.future import FlowyardFuture, wait_async

R = TypeVar("R", default=Any)


class FutureSequence(list[FlowyardFuture[R]]):
    """The futures of a map, in the order of its inputs: a list. `await` gives the list itself."""

    def __await__(self) -> Generator[Any, Any, Self]:
        return self
        yield  # what makes this a generator

    def wait(self, timeout: float | None = None) -> None:
        """Wait for all of them."""
        wait(self, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Return all values, in order; raises the first failure."""
        return [FlowyardFuture.result(future, timeout, raise_on_failure) for future in self]


class BatchedFutureSequence(Sequence[FlowyardFuture[R]]):
    """The futures of a map with `batch_size`: a sequence that makes a future when it is asked for.

    What it keeps of a finished item is small (its id, and where its value is), so a million items fit in memory.
    """

    def __init__(self, length: int, name: str, first_number: int) -> None:
        self._length = length
        self._name = name
        self._first_number = first_number
        self._caller = current().task_run
        self._live: dict[int, FlowyardFuture[R]] = {}
        self._compact: Compact | None = None
        self._changed = threading.Condition()
        self._submitted_count = 0
        self._settled_count = 0
        self.feed: Feed[FlowyardFuture[R]]

    def identity(self, index: int) -> tuple[str, str]:
        """Return dynamic key and name of an item's run; the numbers of all items were taken when the map was called."""
        number = self._first_number + index
        return dynamic_key_of(number, self._caller), f"{self._name}-{number}"

    def note_submitted(self, index: int, future: FlowyardFuture[R]) -> None:
        """Take a new future (called by the feed)."""
        with self._changed:
            if self._compact is None:
                self._compact = Compact(self._length, future.task_run)
            self._live[index] = future
            self._submitted_count = index + 1
            self._changed.notify_all()

    def note_settled(self, index: int, future: FlowyardFuture[R]) -> None:
        """Make a finished future small (called by the feed)."""
        with self._changed:
            assert self._compact is not None
            assert future.settled_state is not None
            self._compact.keep(index, future.task_run, future.settled_state)
            del self._live[index]
            self._settled_count += 1
            if self._settled_count == self._length:
                self._changed.notify_all()

    @override
    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> FlowyardFuture[R]: ...
    @overload
    def __getitem__(self, index: slice) -> list[FlowyardFuture[R]]: ...

    @override
    def __getitem__(self, index: int | slice) -> FlowyardFuture[R] | list[FlowyardFuture[R]]:
        if isinstance(index, slice):
            return [self[each] for each in range(*index.indices(self._length))]
        position = index + self._length if index < 0 else index
        if not 0 <= position < self._length:
            raise IndexError(f"the map has {self._length} items, there is no item {index}")
        with self._changed:
            if self._submitted_count <= position:
                wait_politely(lambda: self._wait_until_submitted(position))
            live = self._live.get(position)
            if live is not None:
                return live
            if self._compact is None or self._submitted_count <= position:
                raise self.feed.error or RuntimeError("the flow ended before the item was submitted")
            run, state = self._compact.run_of(position, self.identity(position))
        future: FlowyardFuture[R] = FlowyardFuture(run, frozenset())
        future.settle(state)
        if hasattr(state.data, "native_handle"):
            # Its value is still on the cluster: calls that need it get it there.
            future.handle = state.data.native_handle(run.id)
            future.runner = self.feed.home
        return future

    def _wait_until_submitted(self, position: int) -> bool:
        return self._changed.wait_for(lambda: self._submitted_count > position or self.feed.is_fed.is_done)

    def __await__(self) -> Generator[Any, Any, Self]:
        return self
        yield

    def wait(self, timeout: float | None = None) -> None:
        """Wait for all items."""
        with self._changed:
            wait_politely(
                lambda: self._changed.wait_for(
                    lambda: self._settled_count == self._length or self.feed.error is not None, timeout
                )
            )

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Return all values, in order; raises the first failure."""
        return [FlowyardFuture.result(future, timeout, raise_on_failure) for future in self]


class FutureStream(Generic[R]):
    """The futures of a map over iterators, or with `window`: iterated once, in the order of the inputs.

    The map pulls inputs at most `window` ahead of the runs that are done. In async code it is iterated with `async
    for`.
    """

    def __init__(self, name: str, number: int) -> None:
        self._name = name
        self._number = number
        self._caller = current().task_run
        self._ready: deque[FlowyardFuture[R]] = deque()
        self._changed = threading.Condition()
        self.feed: Feed[FlowyardFuture[R]]

    def identity(self, index: int) -> tuple[str, str]:
        """Return dynamic key and name of an item's run: all items have one number, and their index after it."""
        return dynamic_key_of(f"{self._number}.{index}", self._caller), f"{self._name}-{self._number}.{index}"

    def note_submitted(self, _index: int, future: FlowyardFuture[R]) -> None:
        """Take a new future (called by the feed)."""
        with self._changed:
            self._ready.append(future)
            self._changed.notify_all()

    def note_settled(self, _index: int, _future: FlowyardFuture[R]) -> None:
        """Do nothing: a future belongs to who iterates (called by the feed)."""

    def note_fed(self) -> None:
        """Wake who waits for more (called at the end of the feed)."""
        with self._changed:
            self._changed.notify_all()

    def __iter__(self) -> Iterator[FlowyardFuture[R]]:
        return self

    def __next__(self) -> FlowyardFuture[R]:
        with self._changed:
            if not self._ready and not self.feed.is_fed.is_done:
                wait_politely(lambda: self._changed.wait_for(lambda: bool(self._ready) or self.feed.is_fed.is_done))
            if self._ready:
                return self._ready.popleft()
        error = self.feed.seen_error()
        if error is not None:
            raise error
        raise StopIteration

    async def __aiter__(self) -> AsyncIterator[FlowyardFuture[R]]:
        import asyncio  # noqa: PLC0415  a sync program never comes here

        end = object()
        while (future := await asyncio.to_thread(next, self, end)) is not end:
            yield cast("FlowyardFuture[R]", future)

    def __await__(self) -> Generator[Any, Any, Self]:
        return self
        yield

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """Return all values that are left, in order; raises the first failure."""
        return [FlowyardFuture.result(future, timeout, raise_on_failure) for future in self]


# --- several futures ----------------------------------------------------------------------------------------------


class DoneAndNotDone(NamedTuple):
    """What `wait` found."""

    done: set[FlowyardFuture[Any]]
    not_done: set[FlowyardFuture[Any]]


def wait(futures: Iterable[FlowyardFuture[Any]], timeout: float | None = None) -> DoneAndNotDone:
    """Wait until all futures are done, or `timeout` seconds have passed; returns which are and which are not."""
    done: set[FlowyardFuture[Any]] = set()
    not_done: set[FlowyardFuture[Any]] = set()
    deadline = None if timeout is None else time.monotonic() + timeout
    for future in futures:
        left = None if deadline is None else deadline - time.monotonic()
        (done if future.block_politely(left) else not_done).add(future)
    return DoneAndNotDone(done, not_done)


def as_completed(futures: Iterable[FlowyardFuture[R]], timeout: float | None = None) -> Iterator[FlowyardFuture[R]]:
    """Yield futures as they become done.

    Raises:
        TimeoutError: not all are done after `timeout` seconds.
        WouldDeadlock: this thread runs an event loop that one of them needs.
    """
    waiting = set(futures)
    for future in waiting:
        future.refuse_to_deadlock()
    total = len(waiting)
    finished: deque[FlowyardFuture[R]] = deque()
    arrived = threading.Condition()

    def on_done(future: FlowyardFuture[R]) -> Callable[[], None]:
        def done() -> None:
            with arrived:
                finished.append(future)
                arrived.notify()

        return done

    for future in waiting:
        future.add_done_callback(on_done(future))
    waiting.clear()  # what was yielded belongs to the caller alone
    deadline = None if timeout is None else time.monotonic() + timeout
    for seen in range(total):
        with arrived:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            if not finished and not _wait_for_one(arrived, finished, left):
                raise TimeoutError(f"{total - seen} of {total} futures are not done after {timeout} seconds")
            future = finished.popleft()
        yield future


def _wait_for_one(arrived: threading.Condition, finished: deque[Any], timeout: float | None) -> bool:
    return wait_politely(lambda: arrived.wait_for(lambda: bool(finished), timeout))


def states_of(futures: Iterable[FlowyardFuture[R]]) -> Iterator[Any]:
    """Wait for the futures and yield their states, in order."""
    for future in futures:
        yield FlowyardFuture.wait(future)


async def states_of_async(futures: Iterable[FlowyardFuture[R]]) -> list[Any]:
    """Wait for all futures without blocking the loop and return their states, in order."""
    waited: list[Any] = []
    for future in futures:
        await wait_async(future, None)
        waited.append(future.settled_state)
    return waited
