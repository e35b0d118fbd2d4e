"""Getting a thread out of Python code that it would not leave by itself."""

from __future__ import annotations

import ctypes
import threading
from typing import Any

from flowyard.aio import asyncio

_switching = threading.Lock()


def raise_in_thread(thread: threading.Thread, error: type[BaseException]) -> bool:
    """Raise `error` in another thread at its next bytecode; False when the thread is gone.

    CPython's `PyThreadState_SetAsyncExc`. A thread that is blocked in a C call (a sleep, a lock, a socket) sees it
    only when the call returns.
    """
    ident = thread.ident
    if ident is None or not thread.is_alive():
        return False
    return _raise_in(ident, error)


def _raise_in(ident: int, error: type[BaseException] | None) -> bool:
    """Raise an exception in the thread of that number; None takes one back that has not come yet."""
    wanted = ctypes.py_object() if error is None else ctypes.py_object(error)
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), wanted))


class StopSwitch:
    """Stops one function from any thread, and nothing that its own thread or event loop does before or after it.

    The function ends with `asyncio.CancelledError`, once: a coroutine at its next `await`, a plain function at its next
    bytecode. Half a microsecond a function that nobody stops.
    """

    __slots__ = ("_is_raised", "_running_in", "is_stopped")

    def __init__(self) -> None:
        self._running_in: int | asyncio.Task[Any] | None = None
        """The thread, or the asyncio task, that executes the function now."""
        self.is_stopped = False
        """Somebody wants the function to end."""
        self._is_raised = False

    def stop(self) -> None:
        """Stop the function; one that has not begun is stopped when it does."""
        with _switching:
            self.is_stopped = True
            self._raise()

    def entered(self, task: asyncio.Task[Any] | None = None) -> None:
        """Note that the function begins in this thread, or as this task."""
        with _switching:
            self._running_in = threading.get_ident() if task is None else task
            if self.is_stopped:
                self._raise()

    def left(self) -> None:
        """Note that the function has ended. What was raised and has not come by then never will, but for a task's."""
        with _switching:
            here, self._running_in = self._running_in, None
            if self._is_raised and isinstance(here, int):
                _raise_in(here, None)

    def _raise(self) -> None:
        here = self._running_in
        if here is None or self._is_raised:
            return
        self._is_raised = True
        if isinstance(here, int):
            _raise_in(here, asyncio.CancelledError)
        else:
            here.get_loop().call_soon_threadsafe(here.cancel)
