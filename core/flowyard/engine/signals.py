"""What SIGTERM and Ctrl-C do while a flow runs in the main thread."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from flowyard.exceptions import TerminationSignal

_INTERRUPTED_EXIT_CODE = 130


class Interrupts:
    """What arrived while a root flow ran."""

    def __init__(self) -> None:
        self.signal: BaseException | None = None
        """The first signal, as the exception it raises. An async flow sees only that it is cancelled; this says why."""


@contextmanager
def listening() -> Generator[Interrupts]:
    """Turn SIGTERM into `TerminationSignal`, note the first Ctrl-C, and leave at once at the second.

    Only in the main thread, and only where nobody else handles the signal; the handlers are put back at the end.
    """
    heard = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    previous_interrupt = signal.getsignal(signal.SIGINT)
    previous_terminate = signal.getsignal(signal.SIGTERM)

    def interrupt(number: int, frame: FrameType | None) -> Any:
        if isinstance(heard.signal, KeyboardInterrupt):
            sys.stderr.write("Interrupted twice: leaving at once. The run is found Crashed at the next look.\n")
            sys.stderr.flush()
            os._exit(_INTERRUPTED_EXIT_CODE)
        heard.signal = KeyboardInterrupt()
        if callable(previous_interrupt):
            return previous_interrupt(number, frame)
        raise KeyboardInterrupt

    def terminate(number: int, frame: FrameType | None) -> None:
        heard.signal = TerminationSignal(number)
        raise heard.signal

    # SIG_IGN (nohup, a background job of a shell) stays ignored.
    takes_interrupt = callable(previous_interrupt)
    takes_terminate = previous_terminate is signal.SIG_DFL
    if takes_interrupt:
        signal.signal(signal.SIGINT, interrupt)
    if takes_terminate:
        signal.signal(signal.SIGTERM, terminate)
    try:
        yield heard
    finally:
        if takes_interrupt:
            signal.signal(signal.SIGINT, previous_interrupt)
        if takes_terminate:
            signal.signal(signal.SIGTERM, previous_terminate)
