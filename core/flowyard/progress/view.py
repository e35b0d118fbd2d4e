"""The progress view of one flow run: cheap to tell, drawn by a thread of its own."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from flowyard.logging.loggers import get_logger
from flowyard.progress.streams import StandIn, is_terminal
from flowyard.progress.tally import Event, Tally
from flowyard.schemas.states import State
from flowyard.settings import FLOWYARD_PROGRESS, Settings

DELAY_SECONDS = 0.5
INTERVAL_SECONDS = 0.1
_MAX_UNCOUNTED = 1024


class Drawing(Protocol):
    """Where a tally is drawn: `screen.Screen`."""

    def open(self) -> None: ...  # noqa: D102
    def draw(self, tally: Tally, now: float) -> None: ...  # noqa: D102
    def close(self, tally: Tally, now: float) -> None: ...  # noqa: D102


class ProgressView:
    """Shows how far the tasks of a flow run are, once it has worked on submitted tasks for half a second.

    The engine tells it what happens from any thread: an append of 0.3 microseconds. A thread counts and draws ten
    times a second; it starts with the first submitted task, so a flow that only calls its tasks never has one.
    """

    def __init__(
        self, open_drawing: Callable[[], Drawing | None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_drawing = open_drawing
        self._clock = clock
        self._events: deque[Event] = deque()
        self._push = self._events.append
        self._tally = Tally()
        self._lock = threading.Lock()
        self._submitted_at: float | None = None
        self._drawing: Drawing | None = None
        self._is_closed = False
        self._wakeup = threading.Event()
        self._thread: threading.Thread | None = None

    def submitted(self, task_name: str, count: int = 1) -> None:
        """Say that runs of a task are going to be created (`submit`, `map`)."""
        self._push((task_name, count))
        if self._submitted_at is None:
            self._start()

    def entered(self, task_name: str, new: State[Any], old: State[Any] | None = None) -> None:
        """Say that a task run entered a state; `old` is the one it was in, None for its first."""
        if old is None:
            self._push((task_name, new.name, new.type, None, None))
        else:
            self._push((task_name, new.name, new.type, old.name, old.type))
        if self._submitted_at is None and len(self._events) > _MAX_UNCOUNTED:
            self._count()  # no thread does it yet, and 100,000 direct calls must not pile up

    @property
    def is_shown(self) -> bool:
        """Whether there is something on the terminal now."""
        return self._drawing is not None

    def close(self) -> None:
        """Draw for the last time and give the terminal back. May be called twice, and from any thread."""
        with self._lock:
            self._is_closed = True
        self._wakeup.set()
        try:
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join()
        finally:  # a second Ctrl-C while the thread draws: the terminal is given back all the same
            self._close_drawing()

    def __enter__(self) -> ProgressView:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        with self._lock:
            if self._submitted_at is not None or self._is_closed:
                return
            self._submitted_at = self._clock()
            self._thread = threading.Thread(target=self._run, name="flowyard-progress", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause = INTERVAL_SECONDS
        while not self._wakeup.wait(pause):
            began = time.monotonic()
            try:
                self.tick()
            except Exception as error:
                # The terminal went away, or a bug of ours: the run is worth more than its view.
                self._close_drawing(failed=True)
                get_logger("progress").warning("The progress view stopped: %s: %s", type(error).__name__, error)
                return
            # A slow terminal, or a starved thread, shall not take more than a tenth of the time.
            pause = max(INTERVAL_SECONDS, 9 * (time.monotonic() - began))

    def tick(self) -> None:
        """Count what has come in and draw it, if it is time to show anything: what the thread does at its pace."""
        self._count()
        now = self._clock()
        if self._drawing is None:
            if self._submitted_at is None or now - self._submitted_at < DELAY_SECONDS or self._tally.is_finished:
                return
            if not self._open():
                return
        with self._lock:
            self._tally.sample(now)
            if self._drawing is not None:
                self._drawing.draw(self._tally, now)

    def _open(self) -> bool:
        drawing = self._open_drawing()
        with self._lock:
            if drawing is None or self._is_closed:
                return False
            drawing.open()
            self._drawing = drawing
        atexit.register(self.close)  # for a run that its caller leaves without ending it
        return True

    def _count(self) -> None:
        now = self._clock()
        events, tally = self._events, self._tally
        with self._lock:
            for _ in range(len(events)):
                tally.apply(events.popleft(), now)

    def _close_drawing(self, *, failed: bool = False) -> None:
        with self._lock:
            drawing, self._drawing = self._drawing, None
        if drawing is None:
            return
        atexit.unregister(self.close)
        if not failed:
            self._count()
        try:
            drawing.close(self._tally, self._clock())
        except Exception as error:
            if not failed:
                get_logger("progress").warning("The progress view stopped: %s: %s", type(error).__name__, error)


def for_flow(settings: Settings) -> ProgressView | None:
    """Return a view for a root flow run; None where nothing shall be drawn.

    It is drawn on stderr, or on stdout if only that is a terminal. With `FLOWYARD_PROGRESS=auto` not on a `dumb`
    terminal, nor in a CI job (variable `CI`), whose logs are kept.
    """
    wanted = FLOWYARD_PROGRESS.value_from(settings)
    if wanted == "never" or not (is_terminal(sys.stderr) or is_terminal(sys.stdout)):
        return None
    if wanted == "auto" and (os.environ.get("TERM") == "dumb" or os.environ.get("CI")):
        return None
    return ProgressView(_open_screen)


def _open_screen() -> Drawing | None:
    if isinstance(sys.stderr, StandIn) or isinstance(sys.stdout, StandIn):
        return None  # another flow run in this process has the terminal
    stream = sys.stderr if is_terminal(sys.stderr) else sys.stdout
    # rich takes 50 ms to import; most flows never show a view.
    from flowyard.progress.screen import Screen  # noqa: PLC0415

    return Screen(stream)
