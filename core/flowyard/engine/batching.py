"""Sending several calls of one map to a runner as one piece of work.

The steps of each call are the same as ever (`task_call.call_task`); they submit to a `Batcher`, which stands before
the runner and hands calls on in chunks. So each item keeps its own run, states, retries, timeout and hooks, and an
item that has to be tried again later leaves its chunk.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Literal

from typing_extensions import override

from flowyard.task_runners.base import Handle, Outcome, TaskCall, TaskConcurrencyType, TaskRunner

BatchSize = int | Literal["auto"]
_TARGET_SECONDS = 0.1
_LARGEST = 5_000


class Sizer:
    """Says how many calls the next chunk takes.

    With "auto" the first chunks have one call; later ones aim at 100 ms by what calls took so far, and become smaller
    towards the end, so that the last round keeps every worker busy.
    """

    def __init__(self, size: BatchSize, capacity: int, remaining: int | None) -> None:
        self._fixed = size if isinstance(size, int) else None
        self._capacity = max(capacity, 1)
        self._remaining = remaining
        self._probes = self._capacity
        self._mean: float | None = None

    def next_size(self) -> int:
        """Return the size of the chunk that is sent next."""
        if self._fixed is not None:
            return self._fixed
        if self._mean is None:
            return 1
        size = int(_TARGET_SECONDS / max(self._mean, 1e-6))
        if self._remaining is not None:
            size = min(size, -(-self._remaining // (2 * self._capacity)))
        return max(1, min(size, _LARGEST))

    def sent(self, count: int) -> None:
        """Note that calls were sent."""
        if self._remaining is not None:
            self._remaining = max(self._remaining - count, 0)

    def took(self, seconds: float) -> None:
        """Note how long one call ran."""
        # A moving mean: tasks of one map may become slower on the way.
        self._mean = seconds if self._mean is None else 0.9 * self._mean + 0.1 * seconds


class _BatchedHandle(Handle):
    """The handle of a call that waits for its chunk."""

    __slots__ = ("inner",)

    def __init__(self, call: TaskCall) -> None:
        super().__init__(call.task_run.id)
        self.inner: Handle | None = None

    @property
    @override
    def native(self) -> Handle:
        return self.inner if self.inner is not None else self


class Batcher(TaskRunner):
    """Gathers calls for a runner; `flush` sends what is left. A cancelled call that was not sent yet never is."""

    def __init__(self, runner: TaskRunner, sizer: Sizer) -> None:
        super().__init__()
        self._runner = runner
        self._sizer = sizer
        self._is_closed = False
        self._lock = threading.Lock()
        self._waiting: list[tuple[TaskCall, Mapping[int, Handle] | None, _BatchedHandle]] = []
        self.capabilities = runner.capabilities

    @property
    @override
    def concurrency_type(self) -> TaskConcurrencyType:
        return self._runner.concurrency_type

    @override
    def options(self) -> dict[str, Any]:
        return {"runner": self._runner, "sizer": self._sizer}

    @override
    def submit(self, call: TaskCall, upstream: Mapping[int, Handle] | None = None) -> Handle:
        if self._is_closed or call.attempt or call.task_run.run_count:
            # A call that is tried again leaves its chunk: what was with it is done, and it may be due now.
            return self._runner.submit(call, upstream)
        handle = _BatchedHandle(call)
        with self._lock:
            self._waiting.append((call, upstream, handle))
            ready = self._take() if len(self._waiting) >= self._sizer.next_size() else []
        self._send(ready)
        return handle

    def close(self) -> None:
        """Send what waits, and from now on every call at once: no more are coming to fill a chunk."""
        self._is_closed = True
        self.flush()

    def flush(self) -> None:
        """Send the calls that wait for their chunk to fill."""
        with self._lock:
            ready = self._take()
        self._send(ready)

    def _take(self) -> list[tuple[TaskCall, Mapping[int, Handle] | None, _BatchedHandle]]:
        ready, self._waiting = self._waiting, []
        self._sizer.sent(len(ready))
        return ready

    def _send(self, ready: list[tuple[TaskCall, Mapping[int, Handle] | None, _BatchedHandle]]) -> None:
        if not ready:
            return
        handles = self._runner.submit_batch([(call, upstream) for call, upstream, _ in ready])
        for (_, _, outer), inner in zip(ready, handles, strict=True):
            outer.inner = inner
            inner.add_done_callback(self._completion_of(outer))

    def _completion_of(self, outer: _BatchedHandle) -> Any:
        def done(outcome: Outcome) -> None:
            self._sizer.took(outcome.task_run.total_run_time.total_seconds())
            outer.complete(outcome)

        return done

    @override
    def cancel(self, handle: Handle) -> bool:
        return self._runner.cancel(handle.native)

    @override
    def capacity(self) -> int | None:
        return self._runner.capacity()
