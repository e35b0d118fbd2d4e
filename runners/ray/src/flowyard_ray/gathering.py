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
    """Says which of the jobs that are ready goes next, and puts calls together. For one thread.

    Args:
        cpus: how many calls the cluster executes at a time.
    """

    def __init__(self, cpus: int) -> None:
        self.cpus = cpus
        self._paces: OrderedDict[TaskSpec, _Pace] = OrderedDict()

    def patience(self, job: Job) -> float:
        """Return for how many seconds a job that is next should not be sent; infinite: until others have ended."""
        if not job.can_be_gathered:
            return 0.0
        pace = self._pace(job.spec)
        if pace.seconds is None:
            if pace.in_flight < _UNKNOWN_PER_CPU * self.cpus:
                return 0.0
            return max(0.0, pace.first_sent + _PATIENCE_SECONDS - time.monotonic())
        return _FOR_EVER if pace.is_short and pace.in_flight >= _ROUNDS * self.cpus else 0.0

    def next(self, ready: deque[Job]) -> Job:
        """Take the next job, together with those behind it that are worth no Ray task of their own."""
        job = ready.popleft()
        if not ready or not job.can_be_gathered:
            return job
        pace = self._pace(job.spec)
        if pace.seconds is None or not pace.is_short:
            return job
        # The last ones are spread over all workers.
        seconds = max(pace.seconds, _LEAST_SECONDS)
        share = max(-(-len(ready) // (2 * self.cpus)), int(_WORTH_SECONDS / seconds))
        most = min(int(_TARGET_SECONDS / seconds), share)
        while ready and len(job.items) < most and ready[0].can_be_gathered and ready[0].source == job.source:
            job.take_in(ready.popleft())
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
