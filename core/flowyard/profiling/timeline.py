"""The task runs of a flow run as numbers: seconds since it began, in the order in which they were called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from flowyard.schemas.metrics import TaskMetrics, TaskTiming
from flowyard.schemas.states import StateType

_NOTHING = TaskMetrics()


class Interval(NamedTuple):
    """A stretch of time, in seconds since the flow run began."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start


@dataclass(slots=True, eq=False)
class Call:
    """A task run that the flow itself called and that has started; what it called is part of it."""

    number: int
    """Its place in `Timeline.calls`."""
    id: str
    name: str
    task_name: str
    state_type: StateType | None
    created: float
    ready: float
    """When it was called and its inputs were there."""
    running: tuple[Interval, ...]
    """When it was Running; several with retries, never empty."""
    queue_seconds: float
    """From `ready` to its start."""
    upstream: tuple[int, ...]
    """Numbers of the calls whose results it took, all smaller than its own."""
    metrics: TaskMetrics = _NOTHING

    @property
    def start(self) -> float:
        """When it started for the first time."""
        return self.running[0].start

    @property
    def end(self) -> float:
        """When it ended; for one that is running, when the profile was made."""
        return self.running[-1].end

    @property
    def busy_seconds(self) -> float:
        """How long it kept a worker: in state Running, with loading and packing where that is known."""
        return max(sum(part.seconds for part in self.running), self.metrics.worker_seconds or 0.0)

    @property
    def user_seconds(self) -> float:
        """How long the user's function took, as far as it was measured; else how long it was Running."""
        measured = self.metrics.run_seconds
        return sum(part.seconds for part in self.running) if measured is None else measured


class Sample(NamedTuple):
    """What a summary by task needs of any task run, of one that was called by a task as well."""

    task_name: str
    state_type: StateType | None
    run_seconds: float | None
    """None for one that has not started."""
    queue_seconds: float
    retries: int


@dataclass(slots=True, eq=False)
class Timeline:
    """The calls of a flow run."""

    seconds: float
    """From the start of the flow run to its end, or to now."""
    calls: list[Call] = field(default_factory=list[Call])
    samples: list[Sample] = field(default_factory=list[Sample])


def timeline_of(timings: Iterable[TaskTiming], *, began: datetime, ended: datetime) -> Timeline:
    """Return the calls of a flow run.

    Args:
        timings: its task runs in the order of their ids, which is that of their creation; read once.
        began: when the flow run started.
        ended: when it ended, or now.
    """
    builder = _Builder(began, (ended - began).total_seconds())
    for timing in timings:
        builder.add(timing)
    return builder.timeline


class _Builder:
    def __init__(self, began: datetime, seconds: float) -> None:
        self._began = began
        self.timeline = Timeline(max(seconds, 0.0))
        # By the number of the id: the hash of a UUID is a Python function. None: it never started.
        self._call_of: dict[int, Call | None] = {}

    def _at(self, moment: datetime) -> float:
        return (moment - self._began).total_seconds()

    def add(self, timing: TaskTiming) -> None:
        parent = timing.parent_task_run_id
        running = self._running(timing)
        created = self._at(timing.created)
        upstream = self._upstream(timing) if parent is None else ()
        ready = max([created, *(self.timeline.calls[number].end for number in upstream)])
        queue = 0.0
        if running:
            queue = max(running[0].start - ready, 0.0)
            if timing.metrics is not None and timing.metrics.queue_seconds is not None:
                # Of one clock, and with the wait for inputs in it: an upper bound.
                queue = min(queue, timing.metrics.queue_seconds)
        self.timeline.samples.append(
            Sample(
                timing.task_name,
                timing.state_type,
                sum(part.seconds for part in running) if running else None,
                queue,
                max(timing.run_count - 1, 0),
            )
        )
        if parent is not None:
            # What a task calls happens while it runs: who takes a value of it takes it from its caller.
            self._call_of[timing.id.int] = self._call_of.get(parent.int)
            return
        if not running:
            self._call_of[timing.id.int] = None
            return
        call = Call(
            number=len(self.timeline.calls),
            id=str(timing.id),
            name=timing.name,
            task_name=timing.task_name,
            state_type=timing.state_type,
            created=created,
            ready=ready,
            running=running,
            queue_seconds=queue,
            upstream=upstream,
            metrics=timing.metrics or _NOTHING,
        )
        self._call_of[timing.id.int] = call
        self.timeline.calls.append(call)

    def _upstream(self, timing: TaskTiming) -> tuple[int, ...]:
        found = (self._call_of.get(upstream.int) for upstream in timing.upstream)
        return tuple(sorted({call.number for call in found if call is not None}))

    def _running(self, timing: TaskTiming) -> tuple[Interval, ...]:
        if timing.start_time is None:
            return ()
        start = self._at(timing.start_time)
        # The clock of a host can be set back: nothing takes less than no time.
        end = self.timeline.seconds if timing.end_time is None else self._at(timing.end_time)
        if not timing.states:
            return (Interval(start, max(start, end)),)
        found: list[Interval] = []
        since: float | None = None
        for kind, _, moment in timing.states:
            at = self._at(moment)
            if since is not None:
                found.append(Interval(since, max(since, at)))
            since = at if kind is StateType.RUNNING else None
        if since is not None:
            found.append(Interval(since, max(since, self.timeline.seconds)))
        return tuple(found) or (Interval(start, max(start, end)),)
