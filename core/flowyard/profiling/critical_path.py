"""The chain of task runs that the end of a flow run waited for."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from flowyard.profiling.timeline import Call, Timeline

_MANY_TIMES = 5.0
_WAITING_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Step:
    """A task run on the path; its three parts follow each other, and begin where the step before it ends."""

    name: str
    task_name: str
    flow_seconds: float
    """The flow's own code, until it called the task; 0 for one that waited for its inputs longer."""
    queue_seconds: float
    """From then, or from the end of its last input, until it started: for a worker, and on the way."""
    task_seconds: float
    """Until it ended, retries and what comes between them included."""
    end: float
    """When it ended, in seconds since the flow run began."""


@dataclass(frozen=True, slots=True)
class CriticalPath:
    """The path, first step first. Its parts add up to the time that the flow run took."""

    steps: Sequence[Step]
    tail_seconds: float
    """From the end of the last task run to the end of the flow run."""

    @property
    def task_seconds(self) -> float:
        """Time in task runs."""
        return sum(step.task_seconds for step in self.steps)

    @property
    def queue_seconds(self) -> float:
        """Time in which the next task run was ready and did not run."""
        return sum(step.queue_seconds for step in self.steps)

    @property
    def flow_seconds(self) -> float:
        """Time in the flow's own code, its end included."""
        return self.tail_seconds + sum(step.flow_seconds for step in self.steps)


def critical_path(timeline: Timeline) -> CriticalPath:
    """Return the path, found from the end backwards.

    Before a task run comes its input that was ready last. When all were ready before it was called, it is what the
    flow's code waited for: that is not recorded, so it is taken to be the last task run that ended while the flow
    called nothing.
    """
    calls = timeline.calls
    if not calls:
        return CriticalPath((), timeline.seconds)
    waited_for = _waited_for(calls)
    path: list[tuple[Call, bool]] = []
    call: Call | None = max(calls, key=lambda one: one.end)
    tail = max(timeline.seconds - call.end, 0.0)
    while call is not None:
        last = max((calls[number] for number in call.upstream), key=lambda one: one.end, default=None)
        by_input = last is not None and last.end > call.created
        before = last if by_input else waited_for[call.number]
        path.append((call, by_input))
        # Clocks of several hosts may disagree; the path must not turn round.
        call = before if before is not None and before.start < call.start and before.number != call.number else None
    return CriticalPath(tuple(_steps(path[::-1])), tail)


def _steps(path: list[tuple[Call, bool]]) -> list[Step]:
    steps: list[Step] = []
    at = 0.0
    for call, by_input in path:
        called = at if by_input else max(call.created, at)
        started = max(call.start, called)
        ended = max(call.end, started)
        steps.append(Step(call.name, call.task_name, called - at, started - called, ended - started, ended))
        at = ended
    return steps


def _waited_for(calls: Sequence[Call]) -> list[Call | None]:
    """Return for each call the one that the flow's code waited for, most recently, before it made the call."""
    by_end = sorted(calls, key=lambda call: call.end)
    ends = [call.end for call in by_end]
    pauses = [later.created - earlier.created for earlier, later in itertools.pairwise(calls)]
    long = max(_MANY_TIMES * median(pauses), _WAITING_SECONDS) if pauses else 0.0
    found: list[Call | None] = [None]
    for before, call in itertools.pairwise(calls):
        last = bisect_right(ends, call.created) - 1
        waited = found[-1]
        if last >= 0 and ends[last] > before.created:
            # Something always ends while a flow calls one task after another; what it waits for ends in a pause.
            ended = by_end[last]
            if ended is before or call.created - before.created > long:
                waited = ended
        found.append(waited)
    return found
