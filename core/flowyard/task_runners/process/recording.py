"""The recorder of a call in a worker: its events go home while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID

from flowyard.schemas.events import JournalEvent, TaskRunEntered

_MOST_WAITING = 512


class EventBuffer:
    """A `Recorder` that hands its events on in batches, in order.

    Nothing is ever dropped while the call runs: when many events wait, the thread that records the next one sends them,
    and is slowed down by the pipe. `send` is called by one thread at a time.
    """

    def __init__(self, task_run_id: UUID, send: Callable[[list[JournalEvent]], None]) -> None:
        self._task_run_id = task_run_id
        self._send = send
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._events: list[JournalEvent] = []
        self._is_closed = False

    def append(self, event: JournalEvent) -> None:
        """Take an event."""
        with self._lock:
            if self._is_closed:
                # A thread that outlived its call: the run is over, and its records with it.
                return
            self._events.append(event)
            is_full = len(self._events) >= _MOST_WAITING
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Send what waits, but for the run's final state and what came after it: that goes with the outcome.

        Only there is it known whether the value of a Completed run can leave this process.
        """
        with self._sending:
            with self._lock:
                events = self._events
                end = self._index_of_final_state(events)
                if not end:
                    return
                self._events = events[end:]
                batch = events[:end]
            self._send(batch)

    def _index_of_final_state(self, events: list[JournalEvent]) -> int:
        for number, event in enumerate(events):
            if isinstance(event, TaskRunEntered) and event.task_run_id == self._task_run_id and event.state.is_final():
                return number
        return len(events)

    def close(self) -> list[JournalEvent]:
        """Take nothing any more; return what was not sent."""
        with self._sending, self._lock:
            self._is_closed = True
            events, self._events = self._events, []
        return events
