"""Events of the runs that a journal writes: which, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from flowyard.schemas.states import FINAL_TYPES, StateType
from flowyard.store.dialects import Dialect
from flowyard.store.happenings import Happenings
from flowyard.store.plain import PlainConnection
from flowyard.store.run_events import EventWriter

TASK_RUN_TYPES: dict[str, frozenset[StateType]] = {
    "none": frozenset(),
    # What somebody may want to hear of, at no cost for task runs that complete.
    "failures": FINAL_TYPES - {StateType.COMPLETED},
    "all": frozenset(StateType),
}
"""The states of task runs that have events, by what FLOWYARD_EVENTS_TASK_RUNS says."""


class Emission:
    """Notes what happens in each transaction, and stores its events at its end. For the thread of the writer.

    Args:
        dialect: of the database.
        task_runs: a key of `TASK_RUN_TYPES`.
        on_stored: called when events are on disk; must not wait for anything.
    """

    def __init__(self, dialect: Dialect, task_runs: str, *, on_stored: Callable[[], None] = lambda: None) -> None:
        self._happenings = Happenings(TASK_RUN_TYPES[task_runs])
        self._write = EventWriter(dialect)
        self.on_stored = on_stored

    def begin(self) -> Happenings:
        """Return what a new transaction notes in."""
        self._happenings.noted.clear()
        return self._happenings

    def write(self, connection: PlainConnection) -> bool:
        """Store the events of what was noted; False when that is nothing."""
        noted = self._happenings.noted
        if noted:
            self._write(connection, noted, datetime.now(UTC))
        return bool(noted)
