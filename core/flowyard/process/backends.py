"""The state backends of one process, opened once and closed at its end."""

from __future__ import annotations

import atexit
import gc
import os
import threading
from datetime import UTC, datetime

from flowyard.logging.configuration import setup_logging
from flowyard.ports import Backend, open_backend
from flowyard.process.commands import Commands
from flowyard.process.loops import BackgroundLoop
from flowyard.process.remote_calls import RemoteCalls
from flowyard.settings import Settings, get_current_settings


class Process:
    """Opens each state backend once, and closes all of them when the interpreter ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._backends: dict[tuple[str, ...], Backend] = {}
        self.background = BackgroundLoop()
        self.remote_calls = RemoteCalls()
        self.commands = Commands()
        # Registered first, so it runs last: the interpreter's own last collections then have nothing to walk through.
        # They free no memory that the end of the process does not, and took 0.1 of the 0.5 s of a script with one task.
        atexit.register(gc.freeze)
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._after_fork)

    def backend(self, settings: Settings | None = None) -> Backend:
        """Return the open backend that the settings name.

        Raises:
            BackendUnavailable: it cannot be opened; says why.
        """
        settings = settings or get_current_settings()
        setup_logging()  # again for every root run: the settings may have changed, and it is 1 microsecond if not
        key = _key_of(settings)
        backend = self._backends.get(key)
        if backend is not None:
            return backend
        with self._lock:
            backend = self._backends.get(key)
            if backend is None:
                backend = open_backend(settings)
                # The first look of a process is when runs of dead processes are found.
                backend.control.reap_dead_runs(datetime.now(UTC))
                self._backends[key] = backend
            return backend

    def opened(self, settings: Settings) -> Backend | None:
        """Return the backend that settings name, if it is open."""
        return self._backends.get(_key_of(settings))

    @property
    def has_backend(self) -> bool:
        """Whether something is open: this process has flow runs of its own, or looks at those of others."""
        return bool(self._backends)

    def close(self) -> None:
        """Write what is left and close every backend."""
        with self._lock:
            backends, self._backends = list(self._backends.values()), {}
        for backend in backends:
            backend.close()
        self.background.close()

    def _after_fork(self) -> None:
        # Threads, locks and connections are the parent's.
        self._lock = threading.Lock()
        self._backends = {}
        self.background = BackgroundLoop()
        self.remote_calls = RemoteCalls()
        self.commands = Commands()


def _key_of(settings: Settings) -> tuple[str, ...]:
    who = (settings.FLOWYARD_API_KEY, settings.FLOWYARD_API_AUTH_STRING)
    where = (settings.FLOWYARD_API_URL, settings.FLOWYARD_API_DATABASE_CONNECTION_URL)
    return (str(settings.FLOWYARD_HOME), *map(str, (*where, *who)))


PROCESS = Process()
"""The one place where a process keeps what outlives a flow run."""


def close_backends() -> None:
    """Write what is left and let go of every state backend of this process; the next run opens them again."""
    PROCESS.close()
