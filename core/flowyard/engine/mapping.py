"""Feeding a map that is too large, or too long, to be submitted at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from typing import Any, Generic, TypeVar, cast

from flowyard.context import current
from flowyard.engine.batching import Batcher, BatchSize, Sizer
from flowyard.engine.calls import Submitter
from flowyard.engine.completion import Completion
from flowyard.engine.submission import Submission
from flowyard.process.collecting import COLLECTING
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.schemas.wire_values import id_from_wire
from flowyard.task_runners.base import TaskRunner

S = TypeVar("S", bound=Submission)
Row = Mapping[str, Any]

_LEAST_WINDOW = 1_000
_ROUNDS_AHEAD = 4
_GIVES_WAY_AFTER = 25
"""After so many calls, a millisecond's work, the threads that send and listen get their turn: else they wait five."""


class Feed(Generic[S]):
    """Submits the calls of one map from a thread of its own, at most `window` ahead of what is done."""

    def __init__(
        self,
        submitter: Submitter[S],
        rows: Iterator[Row],
        identity: Callable[[int], tuple[str, str]],
        *,
        length: int | None,
        window: int | None,
        batch_size: BatchSize | None,
        submitted: Callable[[int, S], None],
        settled: Callable[[int, S], None],
    ) -> None:
        self._submitter = submitter
        self._rows = rows
        self._identity = identity
        self._submitted = submitted
        self._settled = settled
        runner = submitter.runner
        capacity = runner.capacity() or 1
        self._batcher: Batcher | None = None
        if batch_size is not None:
            self._batcher = Batcher(runner, Sizer(batch_size, capacity, length, runner.longest_batch_seconds))
        least = _LEAST_WINDOW if batch_size in (None, "auto") else batch_size
        self.window = window or max(least * _ROUNDS_AHEAD * capacity, _LEAST_WINDOW)
        self._room = _Room(self.window)
        self.count = 0
        self.is_fed = Completion()
        """Done when every row has been submitted, or the feed has failed."""
        self.error: BaseException | None = None
        self._ticket: object = None

    @property
    def runner(self) -> TaskRunner:
        """What the calls are submitted to."""
        return self._batcher or self._submitter.runner

    @property
    def home(self) -> TaskRunner:
        """The runner that has the values."""
        return self._submitter.runner

    def seen_error(self) -> BaseException | None:
        """Return what stopped the feed, to somebody who raises it: the flow need not fail because of it any more."""
        scope = self._submitter.scope
        if self.error is not None and self.error in scope.feed_errors:
            scope.feed_errors.remove(self.error)
        return self.error

    def start(self) -> None:
        """Begin to feed; the flow does not end before everything is fed and done."""
        self._ticket = self._submitter.scope.begin_feed()
        staging = current().transaction
        if staging is not None:
            staging.submitted(self.is_fed)
        context = copy_context()
        threading.Thread(target=lambda: context.run(self._feed), name="flowyard-map", daemon=True).start()

    def _feed(self) -> None:
        with COLLECTING.seldom():
            self._feed_all()

    def _feed_all(self) -> None:
        scope = self._submitter.scope
        try:
            for index, row in enumerate(self._rows):
                if not self._room.take():
                    self._wait_for_room()
                if not scope.wants(self._ticket):
                    return
                if not index % _GIVES_WAY_AFTER:
                    time.sleep(0)
                future = self._submitter.submit(row, identity=self._identity(index), runner=self.runner)
                self.count = index + 1
                self._submitted(index, future)
                future.add_done_callback(self._release(index, future))
        except BaseException as error:
            # The rows come from the user's iterator. Who iterates the futures gets the error; so does the flow's end.
            self.error = error
        finally:
            if self._batcher is not None:
                self._batcher.pause()
            scope.end_feed(self._ticket, self.error)
            self.is_fed.finish()

    def _wait_for_room(self) -> None:
        batcher = self._batcher
        if batcher is None:
            self._room.wait_for(1)
            return
        # Whatever waits for its chunk to fill would be waited for in vain. Then a whole chunk is fed: to go on at every
        # place that becomes free would make chunks of what one report happens to bring.
        batcher.pause()
        share = self.window // _ROUNDS_AHEAD
        self._room.wait_for(min(batcher.next_size() or share, share))
        batcher.go_on()

    def _release(self, index: int, future: S) -> Callable[[], None]:
        def done() -> None:
            self._settled(index, future)
            self._room.give_back()

        return done


class _Room:
    """How many more calls may be under way. One thread takes places, any thread gives them back."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._wanted = 0
        self._lock = threading.Lock()
        self._is_there = threading.Condition(self._lock)

    def take(self) -> bool:
        """Take a place; False when there is none."""
        with self._lock:
            if not self._free:
                return False
            self._free -= 1
            return True

    def wait_for(self, places: int) -> None:
        """Wait until so many places are free, at least one, and take one of them."""
        with self._lock:
            self._wanted = max(places, 1)
            while self._free < self._wanted:
                self._is_there.wait()
            self._wanted = 0
            self._free -= 1

    def give_back(self) -> None:
        """Free a place."""
        with self._lock:
            self._free += 1
            if self._free == self._wanted:
                self._is_there.notify()


class Compact:
    """The finished items of a large map, a tenth of the size of their futures."""

    __slots__ = ("_ids", "_task", "_values")

    def __init__(self, length: int, task: TaskRun) -> None:
        self._task = task
        """Any run of the map: what all of them share is read from it."""
        self._ids = bytearray(16 * length)
        self._values: list[Any] = [None] * length

    def keep(self, index: int, run: TaskRun, state: State[Any]) -> None:
        """Keep how an item ended: the value's handle if it completed, else the whole state."""
        self._ids[16 * index : 16 * index + 16] = run.id.bytes
        self._values[index] = state.data if state.is_completed() and state.name == "Completed" else state

    def run_of(self, index: int, identity: tuple[str, str]) -> tuple[TaskRun, State[Any]]:
        """Return the run of a finished item, with its state."""
        shared = self._task
        dynamic_key, name = identity
        run = shared.sibling(id_from_wire(self._ids[16 * index : 16 * index + 16]), dynamic_key, name)
        kept = self._values[index]
        state: State[Any]
        if isinstance(kept, State):
            state = cast("State[Any]", kept)
        else:
            details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
            state = State(StateType.COMPLETED, data=kept, state_details=details)
        run.state = state
        return run, state
