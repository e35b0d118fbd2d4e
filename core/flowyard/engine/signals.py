"""What SIGTERM and Ctrl-C do while a flow runs in the main thread."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from flowyard.aio import asyncio
from flowyard.exceptions import TerminationSignal
from flowyard.process.interrupts import raise_in_thread

_INTERRUPTED_EXIT_CODE = 130
_AGAIN_SECONDS = 0.01
_STOPS = (KeyboardInterrupt, TerminationSignal)


class Interrupts:
    """What arrived while a root flow ran."""

    def __init__(self) -> None:
        self.signal: BaseException | None = None
        """The first signal, as the exception it raises. An async flow sees only that it is cancelled; this says why."""
        self.is_cancelling = False
        """Somebody wants the root flow run to end: what is stopped because of that is Cancelled, not Crashed."""
        self._thread = threading.current_thread()
        self._task: asyncio.Task[Any] | None = None
        self._handles_sigterm = False

    def follow(self, task: asyncio.Task[Any] | None, *, handles_sigterm: bool = False) -> None:
        """Say how the flow can be stopped: by its task, or by a signal that is handled."""
        self._task = task
        self._handles_sigterm = handles_sigterm

    def stop(self) -> None:
        """Stop the root flow from another thread, as SIGTERM does."""
        if self._handles_sigterm and sys.platform != "win32":
            # The way of a signal ends what the main thread waits for, too.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        elif self._task is not None:
            self.signal = TerminationSignal(signal.SIGTERM)
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        else:
            self.signal = TerminationSignal(signal.SIGTERM)
            raise_in_thread(self._thread, _Stopped)


class _Stopped(TerminationSignal):
    """What is raised in a thread that has no signal handlers: it is made without arguments there."""

    def __init__(self) -> None:
        super().__init__(signal.SIGTERM)


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


class _LostStops:
    """Sends a signal again whose exception was raised where Python only prints exceptions.

    Such places are `__del__`, callbacks of weak references and of the garbage collector, and the printing itself. The
    more objects a flow makes, the likelier a signal meets one; `distributed` has a callback at each collection.
    """

    def __init__(self, heard: Interrupts) -> None:
        self._heard = heard
        self._is_over = False
        self.previous = sys.unraisablehook
        sys.unraisablehook = self

    def __call__(self, unraisable: sys.UnraisableHookArgs) -> None:
        if self._is_over or threading.current_thread() is not threading.main_thread():
            self.previous(unraisable)
            return
        stop = unraisable.exc_value
        if not isinstance(stop, _STOPS):
            stop = self._print(unraisable)
            if stop is None:
                return
        self._heard.signal = None  # it is the first one still, not a second
        number = stop.signal if isinstance(stop, TerminationSignal) else signal.SIGINT
        # Raised from here it would be lost once more. `threading.Thread` takes locks that this thread may hold.
        _thread.start_new_thread(_send_again, (number,))

    def _print(self, unraisable: sys.UnraisableHookArgs) -> BaseException | None:
        """Print any other exception; return the stop that came meanwhile, which nobody but this has seen."""
        before = self._heard.signal
        with contextlib.suppress(*_STOPS):
            self.previous(unraisable)
        return None if self._heard.signal is before else self._heard.signal

    def remove(self) -> None:
        """Put back what was there before, or (somebody has put another one on top) step aside."""
        self._is_over = True
        if sys.unraisablehook is not self:
            return
        previous = self.previous
        while isinstance(previous, _LostStops) and previous._is_over:
            previous = previous.previous
        sys.unraisablehook = previous


def _send_again(number: int) -> None:
    time.sleep(_AGAIN_SECONDS)
    if sys.platform == "win32":
        _thread.interrupt_main(number)
    else:  # it ends what the main thread waits for
        signal.pthread_kill(threading.main_thread().ident or 0, number)


@contextmanager
def listening(task: asyncio.Task[Any] | None = None) -> Generator[Interrupts]:
    """Turn SIGTERM into `TerminationSignal`, note the first Ctrl-C, and leave at once at the second.

    Only in the main thread, and only where nobody else handles the signal; the handlers are put back at the end. What
    they raise where exceptions are only printed is raised again a moment later.

    Args:
        task: the asyncio task of an async flow. SIGTERM cancels it, as asyncio itself does on Ctrl-C: an exception that
            a signal handler raises in a callback of a loop would only be logged. A second SIGTERM raises all the same.
    """
    heard = Interrupts()
    heard.follow(task)
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
        heard.follow(task, handles_sigterm=True)
    lost = _LostStops(heard)
    try:
        yield heard
    finally:
        lost.remove()
        for handler in handlers:
            handler.remove()
