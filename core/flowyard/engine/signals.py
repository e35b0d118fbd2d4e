"""What SIGTERM and Ctrl-C do while a flow runs in the main thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from flowyard.aio import asyncio
from flowyard.exceptions import TerminationSignal

_INTERRUPTED_EXIT_CODE = 130


class Interrupts:
    """What arrived while a root flow ran."""

    def __init__(self) -> None:
        self.signal: BaseException | None = None
        """The first signal, as the exception it raises. An async flow sees only that it is cancelled; this says why."""


class _Handler:
    """A signal handler that flows which overlap in time can put in and take out in any order."""

    def __init__(self, number: int, act: Callable[[int, FrameType | None], None]) -> None:
        self._number = number
        self._act = act
        self._is_over = False
        self.previous = signal.getsignal(number)
        signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._is_over:
            if callable(self.previous):
                self.previous(number, frame)
        else:
            self._act(number, frame)

    def remove(self) -> None:
        """Put back what was there before, or (another flow has put its own on top) step aside."""
        self._is_over = True
        if signal.getsignal(self._number) is not self:
            return
        previous = self.previous
        while isinstance(previous, _Handler) and previous._is_over:
            previous = previous.previous
        signal.signal(self._number, previous)


@contextmanager
def listening(task: asyncio.Task[Any] | None = None) -> Generator[Interrupts]:
    """Turn SIGTERM into `TerminationSignal`, note the first Ctrl-C, and leave at once at the second.

    Only in the main thread, and only where nobody else handles the signal; the handlers are put back at the end.

    Args:
        task: the asyncio task of an async flow. SIGTERM cancels it, as asyncio itself does on Ctrl-C: an exception that
            a signal handler raises in a callback of a loop would only be logged. A second SIGTERM raises all the same.
    """
    heard = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    handlers: list[_Handler] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        if isinstance(heard.signal, KeyboardInterrupt):
            sys.stderr.write("Interrupted twice: leaving at once. The run is found Crashed at the next look.\n")
            sys.stderr.flush()
            os._exit(_INTERRUPTED_EXIT_CODE)
        heard.signal = KeyboardInterrupt()
        previous = handlers[0].previous
        if callable(previous):
            previous(number, frame)
        else:
            raise KeyboardInterrupt

    def terminate(number: int, frame: FrameType | None) -> None:
        is_first = heard.signal is None
        heard.signal = TerminationSignal(number)
        if task is None or not is_first:
            raise heard.signal
        task.get_loop().call_soon_threadsafe(task.cancel)

    # SIG_IGN (nohup, a background job of a shell) stays ignored.
    if callable(signal.getsignal(signal.SIGINT)):
        handlers.append(_Handler(signal.SIGINT, interrupt))
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        handlers.append(_Handler(signal.SIGTERM, terminate))
    try:
        yield heard
    finally:
        for handler in handlers:
            handler.remove()
