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

from flowyard.engine.completion import Completion
from flowyard.task_runners.base import Handle, Outcome, TaskCall, TaskConcurrencyType, TaskRunner
from flowyard.task_runners.outcomes import cancelled

BatchSize = int | Literal["auto"]
_TARGET_SECONDS = 0.1
_ROUNDS = 8
"""For so many more chunks there is work, at least, where one aims at more than that."""
_LINGER_SECONDS = 0.02
"""How long a call that comes when its inputs allow it waits for others to fill its chunk."""
_MOST_CALLS = 1_000
"""How many calls go together at most: beyond its function, a call costs a worker a tenth of a millisecond."""
_WORTH_SECONDS = 0.005
"""Down to how much work chunks become smaller towards the end: below that it takes longer to send one."""
_NEWEST_SHARE = 0.02
"""What the newest call counts in the mean: one that takes a hundred times as long makes it three times as large."""
_FAITH = 8
"""So many times as many calls as have ended may be under way: the first ones often take longer than the others will."""


class Sizer:
    """Says how many calls the next chunk takes.

    With "auto" the first chunks have one call. Later ones aim at 100 ms by what calls took so far, at up to
    `longest_seconds` where there is work for many more, and become smaller towards the end, so that the last round
    keeps every worker busy.
    """

    def __init__(
        self, size: BatchSize, capacity: int, remaining: int | None, longest_seconds: float = _TARGET_SECONDS
    ) -> None:
        self._fixed = size if isinstance(size, int) else None
        self._capacity = max(capacity, 1)
        self._remaining = remaining
        self._longest_seconds = longest_seconds
        self._first = self._probes = 2 * self._capacity
        """How many chunks of one call are sent before it is known how long a call takes."""
        self._mean: float | None = None
        self._sent = self._ended = 0

    def next_size(self) -> int | None:
        """Return the size of the chunk that is sent next; None when more calls must end before that is known."""
        if self._fixed is not None:
            return self._fixed
        if self._mean is None:
            return 1 if self._probes > 0 else None
        size = self._size(max(self._mean, _TARGET_SECONDS / _MOST_CALLS))
        under_way = self._sent - self._ended
        return size if under_way < 2 * self._capacity * size + _FAITH * self._ended else None

    def _size(self, mean: float) -> int:
        if self._remaining is None:
            return max(1, int(_TARGET_SECONDS / mean))
        share = mean * self._remaining / self._capacity
        aim = min(max(_TARGET_SECONDS, share / _ROUNDS), self._longest_seconds)
        size = min(int(aim / mean), max(-(-self._remaining // (2 * self._capacity)), int(_WORTH_SECONDS / mean)))
        return max(1, min(size, _MOST_CALLS))

    def sent(self, count: int) -> None:
        """Note that calls were sent."""
        self._probes -= 1
        self._sent += count
        if self._remaining is not None:
            self._remaining = max(self._remaining - count, 0)

    def took(self, seconds: float) -> None:
        """Note how long one call ran."""
        self._ended += 1
        # A moving mean: tasks of one map may become slower on the way. The first call in each worker may have had to
        # import something; what comes after those counts anew.
        counted = self._ended - self._first if self._ended > self._first else self._ended
        share = max(_NEWEST_SHARE, 1 / counted)
        self._mean = seconds if self._mean is None else (1 - share) * self._mean + share * seconds


class _BatchedHandle(Handle):
    """The handle of a call that waits for its chunk."""

    __slots__ = ("_sent", "inner")

    def __init__(self, call: TaskCall) -> None:
        super().__init__(call.task_run.id)
        self.inner: Handle | None = None
        self._sent: Completion | None = None

    @property
    @override
    def native(self) -> Handle | None:
        return self.inner

    @override
    def when_sent(self) -> Completion:
        with self._lock:
            sent = self._sent
            if sent is None:
                sent = self._sent = Completion()
            is_sent = self.inner is not None or self._outcome is not None
        if is_sent:
            sent.finish()
        return sent

    def note_sent(self, inner: Handle) -> None:
        """Take the handle that the runner made; who waited for it goes on later (`tell_sent`)."""
        with self._lock:
            self.inner = inner

    def tell_sent(self) -> None:
        """Let those go on that waited for the call to be sent."""
        sent = self._sent
        if sent is not None:
            sent.finish()

    @override
    def complete(self, outcome: Outcome) -> bool:
        is_first = super().complete(outcome)
        self.tell_sent()  # one that was cancelled is never sent
        return is_first


class Batcher(TaskRunner):
    """Gathers calls for a runner; `flush` sends what is left. A cancelled call that was not sent yet never is."""

    def __init__(self, runner: TaskRunner, sizer: Sizer) -> None:
        super().__init__()
        self._runner = runner
        self._sizer = sizer
        self._is_idle = False
        """Whoever fills the chunks waits, or has ended: what comes now comes because its inputs are there."""
        self._timer: threading.Timer | None = None
        self._is_flushing = False
        """What waits is to be sent as soon as outcomes say in chunks of what size."""
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
        if call.attempt or call.resubmissions or call.task_run.run_count:
            # A call that is tried again leaves its chunk: what was with it is done, and it may be due now.
            return self._runner.submit(call, upstream)
        handle = _BatchedHandle(call)
        with self._lock:
            self._waiting.append((call, upstream, handle))
        self._send_full()
        if self._is_idle and self._waiting:
            self._linger()
        return handle

    def pause(self) -> None:
        """Send what waits: nobody fills the chunks for now, but calls may still come when their inputs allow it."""
        self._is_idle = True
        self.flush()

    def go_on(self) -> None:
        """Wait for full chunks again."""
        self._is_idle = False

    def next_size(self) -> int | None:
        """Return how many calls the next chunk takes; None when that is not known yet."""
        return self._sizer.next_size()

    def _linger(self) -> None:
        """Have what waits sent soon: calls whose inputs become ready together come together."""
        with self._lock:
            if self._timer is not None or not self._waiting:
                return
            timer = self._timer = threading.Timer(_LINGER_SECONDS, self._flush_late)
        timer.name = "flowyard-batch"
        timer.daemon = True
        timer.start()

    def _flush_late(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Send the calls that wait for their chunk to fill; nobody brings more before some are done."""
        self._send_full()
        with self._lock:
            # Before there are outcomes the right size is unknown: they send what waits (see `_completion_of`).
            self._is_flushing = self._sizer.next_size() is None
            ready = [] if self._is_flushing else self._take(len(self._waiting))
        self._send(ready)

    def _send_full(self) -> None:
        """Send every chunk that is full."""
        while True:
            with self._lock:
                size = self._sizer.next_size()
                if size is None or len(self._waiting) < size:
                    return
                ready = self._take(size)
            self._send(ready)

    def _take(self, size: int) -> list[tuple[TaskCall, Mapping[int, Handle] | None, _BatchedHandle]]:
        ready, self._waiting = self._waiting[:size], self._waiting[size:]
        if ready:
            self._sizer.sent(len(ready))
        if not self._waiting and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return ready

    def _send(self, ready: list[tuple[TaskCall, Mapping[int, Handle] | None, _BatchedHandle]]) -> None:
        if not ready:
            return
        handles = self._runner.submit_batch([(call, upstream) for call, upstream, _ in ready])
        for (_, _, outer), inner in zip(ready, handles, strict=True):
            outer.note_sent(inner)
            inner.add_done_callback(self._completion_of(outer))
        # What depends on these calls comes now, all of it: its chunks are made of the same items.
        for _, _, outer in ready:
            outer.tell_sent()

    def _completion_of(self, outer: _BatchedHandle) -> Any:
        def done(outcome: Outcome) -> None:
            self._sizer.took(outcome.task_run.total_run_time.total_seconds())
            if self._waiting:
                self._send_full()
                if self._is_flushing:
                    self.flush()
            outer.complete(outcome)

        return done

    @override
    def cancel(self, handle: Handle) -> bool:
        with self._lock:
            waiting = next((item for item in self._waiting if item[2] is handle), None)
            if waiting is not None:
                self._waiting.remove(waiting)
        if waiting is not None:
            return handle.complete(cancelled(waiting[0]))
        native = handle.native
        return native is not None and self._runner.cancel(native)

    @override
    def capacity(self) -> int | None:
        return self._runner.capacity()
