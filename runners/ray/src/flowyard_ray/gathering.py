"""Making one piece of work of several calls that were submitted one by one.

A Ray task costs some 800 microseconds of processor time, whatever it does. So of a task whose calls have been short and
gave little, those that wait for their turn are sent together. Nobody can tell: a call that takes long after all has its
worker give the ones behind it back, and they are sent anew.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque

from flowyard.schemas.metrics import TaskMetrics
from flowyard.task_runners.base import TaskSpec
from flowyard_ray.jobs import Job

_SHORT_SECONDS = 0.005
_TARGET_SECONDS = 0.02
_WORTH_SECONDS = 0.002
"""Down to how much work a piece is split to keep every worker busy at the end."""
_LEAST_SECONDS = 0.0001
"""What a call costs a worker beyond its function."""
_SMALL_BYTES = 16 * 1024
_ROUNDS = 3
"""Pieces of work for each CPU that are with Ray: one that is executed, others that are on their way."""
_UNKNOWN_PER_CPU = 4
_PATIENCE_SECONDS = 0.25
"""How long more calls of a task wait for the first outcome to say whether they are short."""
_REMEMBERED = 256
_FOR_EVER = float("inf")


class _Pace:
    """What is known of the calls of one task."""

    __slots__ = ("first_sent", "in_flight", "nbytes", "seconds")

    def __init__(self) -> None:
        self.seconds: float | None = None
        """How long a worker is busy with one: a moving mean. None before the first outcome."""
        self.nbytes = 0
        """The largest value so far."""
        self.in_flight = 0
        self.first_sent = 0.0

    @property
    def is_short(self) -> bool:
        return self.seconds is not None and self.seconds <= _SHORT_SECONDS and self.nbytes <= _SMALL_BYTES


class Gatherer:
    """Keeps jobs of one call until they are sent, and puts those of one task together. For one thread.

    Args:
        cpus: how many calls the cluster executes at a time.
    """

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self._paces: OrderedDict[TaskSpec, _Pace] = OrderedDict()
        self._queues: dict[tuple[int, ...], deque[Job]] = {}
        """By the identity of what the jobs in one have in common."""

    def add(self, job: Job) -> None:
        """Take a job that `can_be_gathered`."""
        self._queues.setdefault(tuple(map(id, job.source)), deque()).append(job)

    def take(self) -> Job | None:
        """Return the next job that should be sent now, others put into it; None when there is none."""
        for key, queue in self._queues.items():
            if not self._patience(queue[0]):
                job = self._next(queue)
                if not queue:
                    del self._queues[key]
                return job
        return None

    @property
    def patience(self) -> float | None:
        """For how many seconds what is left should wait, if nothing comes meanwhile; None for any time."""
        return min(
            (seconds for queue in self._queues.values() if (seconds := self._patience(queue[0])) < _FOR_EVER),
            default=None,
        )

    def _patience(self, job: Job) -> float:
        pace = self._pace(job.spec)
        if pace.seconds is None:
            if pace.in_flight < _UNKNOWN_PER_CPU * self.cpus:
                return 0.0
            return max(0.0, pace.first_sent + _PATIENCE_SECONDS - time.monotonic())
        return _FOR_EVER if pace.is_short and pace.in_flight >= _ROUNDS * self.cpus else 0.0

    def _next(self, queue: deque[Job]) -> Job:
        job = queue.popleft()
        pace = self._pace(job.spec)
        if not queue or pace.seconds is None or not pace.is_short:
            return job
        seconds = max(pace.seconds, _LEAST_SECONDS)
        # The last ones are spread over all workers.
        share = max(-(-len(queue) // (2 * self.cpus)), int(_WORTH_SECONDS / seconds))
        most = min(int(_TARGET_SECONDS / seconds), share)
        while queue and len(job.items) < most:
            job.take_in(queue.popleft())
        return job

    def sent(self, job: Job) -> None:
        """Note that a job is with Ray."""
        pace = self._pace(job.spec)
        if not pace.first_sent:
            pace.first_sent = time.monotonic()
        pace.in_flight += 1

    def left(self, job: Job) -> None:
        """Note that a job is not with Ray any more."""
        self._pace(job.spec).in_flight -= 1

    def took(self, spec: TaskSpec, metrics: TaskMetrics | None) -> None:
        """Note what an outcome says."""
        if metrics is None:
            return
        pace = self._pace(spec)
        seconds = metrics.worker_seconds or 0.0
        if pace.seconds is None:
            pace.seconds = seconds
        else:
            # A busy machine lets a call wait for milliseconds now and then: that says little of the next ones.
            pace.seconds += 0.1 * (min(seconds, 4 * pace.seconds + _LEAST_SECONDS) - pace.seconds)
        pace.nbytes = max(pace.nbytes, metrics.bytes_out or 0, metrics.bytes_in or 0)

    def was_slow(self, spec: TaskSpec, seconds: float) -> None:
        """Note that calls were given back: one took so long that others could not wait for it."""
        pace = self._pace(spec)
        pace.seconds = max(pace.seconds or 0.0, seconds)

    def _pace(self, spec: TaskSpec) -> _Pace:
        pace = self._paces.get(spec)
        if pace is None:
            pace = self._paces[spec] = _Pace()
            if len(self._paces) > _REMEMBERED:
                self._paces.popitem(last=False)
        return pace
