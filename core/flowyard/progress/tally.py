"""How far the tasks of a flow run are, by task name: pure counting, no clock and no terminal."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from flowyard.schemas.states import FINAL_TYPES, StateType

RATE_WINDOW_SECONDS = 10.0


Submitted = tuple[str, int]
"""Task name, and how many runs of it are going to be created."""

Entered = tuple[str, str, StateType, str | None, StateType | None]
"""Task name, name and type of the state that a run entered, name and type of the state it left (None: its first).

Both are plain tuples because one is made for every state of every task run: 0.1 microseconds, a named one takes 0.4.
"""

Event = Submitted | Entered


@dataclass(eq=False, slots=True)
class TaskTally:
    """The runs of one task."""

    task_name: str
    submitted: int = 0
    created: int = 0
    finished: int = 0
    by_state: dict[str, tuple[StateType, int]] = field(default_factory=dict[str, tuple[StateType, int]])
    """State name -> its type and how many runs are in it now, in the order in which names came up."""
    first_at: float | None = None
    last_finish_at: float | None = None
    _samples: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    @property
    def total(self) -> int:
        """How many runs there will be, as far as is known."""
        return max(self.submitted, self.created)

    @property
    def is_finished(self) -> bool:
        """Whether every known run has ended."""
        return self.finished >= self.total

    def apply(self, event: Event, now: float) -> None:
        """Count one event."""
        if self.first_at is None:
            self.first_at = now
        if len(event) == 2:
            self.submitted += event[1]
            return
        _, name, kind, old_name, old_kind = event
        if old_name is None:
            self.created += 1
        else:
            self._add(old_name, old_kind or kind, -1)
        self._add(name, kind, 1)
        if kind in FINAL_TYPES:
            self.last_finish_at = now

    def _add(self, name: str, kind: StateType, change: int) -> None:
        _, count = self.by_state.get(name, (kind, 0))
        self.by_state[name] = (kind, count + change)
        if kind in FINAL_TYPES:
            self.finished += change

    def sample(self, now: float) -> None:
        """Remember how many runs have ended by now, for `rate`."""
        self._samples.append((now, self.finished))
        while len(self._samples) > 2 and now - self._samples[1][0] >= RATE_WINDOW_SECONDS:
            self._samples.popleft()

    def rate(self, now: float) -> float | None:
        """Return runs that end in a second: lately, or, when all have ended, in all; None when none has."""
        if self.finished <= 0 or self.first_at is None:
            return None
        if self.is_finished:
            seconds = (self.last_finish_at or now) - self.first_at
            return self.finished / seconds if seconds > 0 else None
        start, before = self._samples[0] if self._samples else (self.first_at, 0)
        if now <= start or self.finished <= before:
            return None
        return (self.finished - before) / (now - start)

    def seconds_left(self, now: float) -> float | None:
        """Return how long the runs that have not ended will take at this rate; None when that is not known."""
        if self.is_finished:
            return 0.0
        rate = self.rate(now)
        return (self.total - self.finished) / rate if rate else None


class Tally:
    """All tasks of a flow run, in the order in which they came up."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskTally] = {}

    def apply(self, event: Event, now: float) -> None:
        """Count one event."""
        name = event[0]
        task = self.tasks.get(name)
        if task is None:
            task = self.tasks[name] = TaskTally(name)
            task.sample(now)
        task.apply(event, now)

    def sample(self, now: float) -> None:
        """Remember how many runs have ended by now, for the rates."""
        for task in self.tasks.values():
            task.sample(now)

    @property
    def is_finished(self) -> bool:
        """Whether every known run has ended."""
        return all(task.is_finished for task in self.tasks.values())
