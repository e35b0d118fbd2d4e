"""What others want of the flow runs of this process: one thread asks the state backend once a second.

It starts with the first flow run and costs a query of 30 microseconds while something runs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from uuid import UUID

from flowyard.exceptions import BackendError
from flowyard.ports import ControlPlane

_SECONDS = 1.0
_logger = logging.getLogger("flowyard.commands")


class Commands:
    """Tells flow runs of this process that somebody wants them to end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[UUID, tuple[ControlPlane, Callable[[], None]]] = {}
        self._has_some = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, flow_run_id: UUID, control: ControlPlane, cancel: Callable[[], None]) -> Generator[None]:
        """Call `cancel`, on a thread of ours and at most once, when a flow run is to end before the block does."""
        with self._lock:
            self._watched[flow_run_id] = control, cancel
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch_forever, name="flowyard-commands", daemon=True)
                self._thread.start()
        self._has_some.set()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(flow_run_id, None)
                if not self._watched:
                    self._has_some.clear()

    def _watch_forever(self) -> None:
        pause = threading.Event()
        while True:
            self._has_some.wait()
            # Most flow runs end within the first second and are never asked for.
            pause.wait(_SECONDS)
            try:
                self._look()
            except BackendError as error:
                _logger.debug("cannot ask who wants flow runs to end: %s", error)

    def _look(self) -> None:
        with self._lock:
            watched = dict(self._watched)
        by_control: dict[int, tuple[ControlPlane, list[UUID]]] = {}
        for flow_run_id, (control, _) in watched.items():
            by_control.setdefault(id(control), (control, []))[1].append(flow_run_id)
        for control, flow_run_ids in by_control.values():
            for flow_run_id in control.cancelling_among(flow_run_ids):
                with self._lock:
                    is_there = self._watched.pop(flow_run_id, None) is not None
                if is_there:
                    watched[flow_run_id][1]()
