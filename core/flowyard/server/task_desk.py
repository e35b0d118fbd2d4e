"""Hands task runs that wait for a worker out to those that subscribed to their tasks, each to one at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.task_runs import TaskRun
from flowyard.schemas.runs import utcnow
from flowyard.server.gateway import Gateway
from flowyard.store import served_task_runs, waiting_task_runs

_TAKEN_SECONDS = 30.0
"""A task run that nobody has begun for so long after it was handed out is handed out again."""


class TaskDesk:
    """What one server process hands out; thread-safe.

    Two servers on one database can hand out the same run: whoever proposes its next state first runs it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: dict[UUID, float] = {}

    def take(self, gateway: Gateway, task_keys: Sequence[str]) -> TaskRun | None:
        """Return a task run of one of these tasks, which nobody else gets for now; None when none waits."""
        for task_run_id in gateway.read(lambda connection: waiting_task_runs.ids(connection, task_keys)):
            now = time.monotonic()
            with self._lock:
                if self._taken.get(task_run_id, 0.0) > now:
                    continue
                self._taken = {taken: until for taken, until in self._taken.items() if until > now}
                self._taken[task_run_id] = now + _TAKEN_SECONDS
            try:
                return gateway.read(
                    lambda connection, wanted=task_run_id: served_task_runs.read(connection, wanted, now=utcnow())
                )
            except ObjectNotFound:  # deleted in between
                continue
        return None

    def put_back(self, gateway: Gateway, task_run_id: UUID) -> None:
        """Let somebody else have a task run that could not be handed over."""
        with self._lock:
            self._taken.pop(task_run_id, None)
        gateway.news.ring()
