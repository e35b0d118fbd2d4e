"""Something that becomes done once, on any thread, and can be waited for in every colour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from flowyard.aio import asyncio

_LONGEST_WAIT_SECONDS = 0.2
"""An exception from another thread, such as that of a timeout, arrives when a wait returns: well within its grace."""


class Completion:
    """Done once; callbacks run on the completing thread, blocking waits and awaits build on them.

    Nothing is allocated for a wait that nobody makes: most task runs are never waited for one by one.
    """

    __slots__ = ("__weakref__", "_callbacks", "_is_done", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] | None = []
        self._is_done = False

    @property
    def is_done(self) -> bool:
        """Whether `finish` was called."""
        return self._is_done

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` once: now if this is done, else on the thread that finishes it. It must not raise."""
        with self._lock:
            if self._callbacks is not None:
                self._callbacks.append(callback)
                return
        callback()

    def remove_done_callback(self, callback: Callable[[], None]) -> None:
        """Forget a callback of a wait that was given up; unknown ones are ignored."""
        with self._lock:
            if self._callbacks is not None and callback in self._callbacks:
                self._callbacks.remove(callback)

    def finish(self) -> None:
        """Become done and run the callbacks; a second call does nothing."""
        with self._lock:
            callbacks, self._callbacks = self._callbacks, None
            self._is_done = True
        for callback in callbacks or ():
            callback()

    def block(self, timeout: float | None = None) -> bool:
        """Block this thread until done; False when `timeout` seconds passed first."""
        if self._is_done:
            return True
        gate = threading.Lock()
        gate.acquire()
        self.add_done_callback(gate.release)
        # Not for long at once: a signal that comes in the moment before the wait begins wakes nobody, and its handler
        # runs when this returns.
        until = None if timeout is None else time.monotonic() + timeout
        left = _LONGEST_WAIT_SECONDS
        while True:
            if until is not None:
                left = min(max(until - time.monotonic(), 0.0), _LONGEST_WAIT_SECONDS)
            if gate.acquire(timeout=left):
                return True
            if until is not None and time.monotonic() >= until:
                self.remove_done_callback(gate.release)
                return self._is_done

    async def wait_async(self) -> None:
        """Wait until done without blocking the running event loop."""
        if self._is_done:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, waiter)

        self.add_done_callback(wake)
        try:
            await waiter
        finally:
            self.remove_done_callback(wake)


def _resolve(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def when_all_done(completions: Iterable[Completion], then: Callable[[], None]) -> None:
    """Call `then` once, on the thread that finishes the last of `completions`; now if all are done."""
    waiting = list(completions)
    lock = threading.Lock()
    # One more than there are, so that `then` cannot run before every callback is registered.
    missing = len(waiting) + 1

    def one_done() -> None:
        nonlocal missing
        with lock:
            missing -= 1
            is_last = missing == 0
        if is_last:
            then()

    for completion in waiting:
        completion.add_done_callback(one_done)
    one_done()
