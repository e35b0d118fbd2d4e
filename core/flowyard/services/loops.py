"""Runs services again and again, each on a thread of its own, until it is told to stop."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol, Self

from flowyard.exceptions import BackendError

_logger = logging.getLogger("flowyard.services")
_SHORTEST_SECONDS = 0.1
# Replicas that were started together must not look at the same moment for ever.
_JITTER = 0.1
_FIRST_WITHIN_SECONDS = 1.0
_STOP_SECONDS = 10.0


class Service(Protocol):
    """Something that is done every few seconds, by as many replicas as there are."""

    @property
    def name(self) -> str:
        """What it is called in logs."""
        ...

    def run_once(self, now: datetime) -> object:
        """Do what is to be done at `now`."""
        ...


OnPass = Callable[[str, float, bool], None]
"""Told the name of a service, how many seconds a run of it took, and whether it failed."""


class Loop:
    """One service and how often it runs.

    A service that raises is logged and runs again the next time.

    Args:
        service: what to run.
        seconds: between two runs, give or take a tenth.
        clock: the present time.
    """

    def __init__(
        self, service: Service, seconds: float, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.service = service
        self._seconds = max(seconds, _SHORTEST_SECONDS)
        self._clock = clock
        self._stopping = threading.Event()
        self._on_pass: OnPass | None = None
        self._thread = threading.Thread(target=self._run, name=f"flowyard {service.name}", daemon=True)

    def start(self, on_pass: OnPass | None = None) -> None:
        """Start the thread; the first run comes within a second. `on_pass` is told about each."""
        self._on_pass = on_pass
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Let the run that is going on be the last one."""
        self._stopping.set()

    def wait(self, seconds: float) -> bool:
        """Wait until the last run has ended; False when it takes longer than that."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pause = random.uniform(0, min(self._seconds, _FIRST_WITHIN_SECONDS))
        while not self._stopping.wait(pause):
            begin = time.perf_counter()
            has_failed = not self._run_once()
            if self._on_pass is not None:
                self._on_pass(self.service.name, time.perf_counter() - begin, has_failed)
            pause = self._seconds * random.uniform(1 - _JITTER, 1 + _JITTER)

    def _run_once(self) -> bool:
        try:
            self.service.run_once(self._clock())
        except BackendError as error:
            _logger.warning("%s: %s", self.service.name, error)
            return False
        except Exception:
            _logger.exception("%s failed; it runs again in %.0f s", self.service.name, self._seconds)
            return False
        return True


class Loops:
    """All the loops of a server: a context manager that starts them and stops them again."""

    def __init__(self, loops: Sequence[Loop], *, on_pass: OnPass | None = None) -> None:
        self._loops = loops
        self._on_pass = on_pass

    def start(self) -> None:
        """Start all."""
        for loop in self._loops:
            loop.start(self._on_pass)

    def stop(self) -> None:
        """Stop all, and wait for what is going on."""
        for loop in self._loops:
            loop.ask_to_stop()
        for loop in self._loops:
            if not loop.wait(_STOP_SECONDS):
                _logger.warning("%s did not stop within %.0f s", loop.service.name, _STOP_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
