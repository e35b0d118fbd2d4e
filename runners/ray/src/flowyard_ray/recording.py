"""The record of a call in a Ray worker: everything it did, until the flow's process is known to have it."""

from __future__ import annotations

import threading
from uuid import UUID

from flowyard.schemas.events import JournalEvent, LogEmitted, TaskRunEntered

MOST_LOGS = 10_000
"""Log lines of one call that are kept while nobody has fetched them."""


class Record:
    """A `Recorder` that numbers what it takes. `known` events, from the first on, are with the flow's process."""

    def __init__(self, task_run_id: UUID) -> None:
        self._task_run_id = task_run_id
        self._lock = threading.Lock()
        self._events: list[JournalEvent] = []
        self._known = 0
        self._logs = 0
        self._dropped = 0
        self._last_log: LogEmitted | None = None
        self._end: int | None = None
        self._is_closed = False

    def append(self, event: JournalEvent) -> None:
        """Take an event; a log line too many is counted and dropped, a state never is."""
        with self._lock:
            if self._is_closed:
                # A thread that outlived its call: the run is over, and its records with it.
                return
            if isinstance(event, LogEmitted):
                if self._logs >= MOST_LOGS:
                    self._dropped += 1
                    self._last_log = event
                    return
                self._say_dropped()
                self._logs += 1
            elif (
                self._end is None
                and isinstance(event, TaskRunEntered)
                and event.task_run_id == self._task_run_id
                and event.state.is_final()
            ):
                # It goes with the outcome: only there is it known whether the value can be kept.
                self._end = self._known + len(self._events)
            self._events.append(event)

    def _say_dropped(self) -> None:
        if self._dropped and self._last_log is not None:
            last = self._last_log
            text = f"{self._dropped} log lines were dropped here: the task logged faster than they could be fetched"
            self._events.append(last._replace(level=30, message=text))
            self._dropped = 0

    def since(self, number: int) -> list[JournalEvent]:
        """Return what can be sent ahead of the outcome, from event `number` on."""
        with self._lock:
            end = None if self._end is None else self._end - self._known
            return self._events[max(number - self._known, 0) : end]

    def forget(self, number: int) -> None:
        """Drop what comes before event `number`: the flow's process has it."""
        with self._lock:
            count = number - self._known
            if count > 0:
                self._logs -= sum(event.__class__ is LogEmitted for event in self._events[:count])
                del self._events[:count]
                self._known = number

    def close(self) -> tuple[int, list[JournalEvent]]:
        """Take nothing any more; return the number of the first event that is left, and all from there."""
        with self._lock:
            self._is_closed = True
            self._say_dropped()
            events, self._events = self._events, []
            return self._known, events
