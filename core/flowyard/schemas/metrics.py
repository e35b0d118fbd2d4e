"""What is measured about a task run where it executes, and what a profile needs of one.

Metrics are read when something is slow, and never by the engine: a run without any is as good as one with.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from flowyard.schemas.states import StateType

_DIGITS = 6


class TaskMetrics(NamedTuple):
    """What was measured about a task run, all its attempts together. None: not known, or it has no meaning there."""

    worker: str | None = None
    """Where it ran (at last): a worker process, or a thread of the flow's process."""
    began: float | None = None
    """When the worker took the call up, in seconds since the epoch by the clock of the worker."""
    worker_seconds: float | None = None
    """How long the call kept the worker busy: loading, running and packing."""
    queue_seconds: float | None = None
    """From the hand-over to the runner until a worker took the call up; on Dask and Ray the wait for inputs as well."""
    load_seconds: float | None = None
    """Unpickling: the function, where it is new to the worker, and the arguments."""
    run_seconds: float | None = None
    """In the function of the user."""
    cpu_seconds: float | None = None
    """Processor time meanwhile: of a process that executes one call at a time, else of the thread of a worker."""
    memory_growth: int | None = None
    """Bytes by which the call raised the most memory that its worker process ever held."""
    bytes_in: int | None = None
    """The packed call. What a cluster moves from worker to worker by itself is not in it."""
    bytes_out: int | None = None
    """The packed value; on clusters, where it is not packed, about how large it is. None for an exception."""

    def plus(self, later: TaskMetrics) -> TaskMetrics:
        """Return what is known after another attempt: sums, and the place of the later one."""
        return TaskMetrics(
            later.worker, later.began, *(_sum(one, other) for one, other in zip(self[2:], later[2:], strict=True))
        )

    def queued(self, *, handed_over: float, elapsed: float) -> TaskMetrics:
        """Return this with its time in the queue.

        `handed_over` is when the runner got the call (seconds since the epoch), and `elapsed` how long it had it, both
        by the clock of the flow's process. What the worker's clock says is believed as far as that leaves room for it;
        a clock that is wrong gives the upper bound, which has the way back in it.
        """
        limit = max(elapsed - (self.worker_seconds or 0.0), 0.0)
        seconds = limit if self.began is None else self.began - handed_over
        return self._replace(queue_seconds=seconds if 0.0 <= seconds <= limit else limit)

    def to_record(self) -> dict[str, Any]:
        """Return what is stored: names and values, without those that are None."""
        return {
            name: round(value, _DIGITS) if isinstance(value, float) else value
            for name, value in zip(self._fields, self, strict=True)
            if value is not None
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TaskMetrics:
        """Read what `to_record` returned; what a later release measures besides is left out."""
        return cls(**{name: record[name] for name in cls._fields if name in record})


class TaskTiming(NamedTuple):
    """A task run as a profile sees it. Times are aware UTC."""

    id: UUID
    name: str
    task_name: str
    parent_task_run_id: UUID | None
    state_type: StateType | None
    run_count: int
    upstream: tuple[UUID, ...]
    """The task runs whose results it took, or waited for."""
    created: datetime
    start_time: datetime | None
    end_time: datetime | None
    metrics: TaskMetrics | None = None
    states: tuple[tuple[StateType, str, datetime], ...] = ()
    """Type, name and time of its states; only of runs that started more than once."""


def _sum(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return one if other is None else other
    return one + other
