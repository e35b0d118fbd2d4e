"""Timings for tests of profiles: task runs of a flow run that began at noon, given in seconds since then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from flowyard.profiling.timeline import Timeline, timeline_of
from flowyard.schemas.metrics import TaskMetrics, TaskTiming
from flowyard.schemas.states import StateType
from flowyard.testing.records import NOON


def make_timing(
    number: int,
    *,
    start: float | None,
    end: float | None,
    created: float = 0.0,
    upstream: Sequence[int] = (),
    parent: int | None = None,
    task_name: str = "work",
    state_type: StateType = StateType.COMPLETED,
    metrics: TaskMetrics | None = None,
    states: Sequence[tuple[StateType, float]] = (),
) -> TaskTiming:
    """Return a task run; `number` stands for its id, and so do those in `upstream` and `parent`."""
    return TaskTiming(
        id=UUID(int=number),
        name=f"{task_name}-{number}",
        task_name=task_name,
        parent_task_run_id=None if parent is None else UUID(int=parent),
        state_type=state_type,
        run_count=max(sum(kind is StateType.RUNNING for kind, _ in states), 1),
        upstream=tuple(UUID(int=other) for other in upstream),
        created=NOON + timedelta(seconds=created),
        start_time=None if start is None else NOON + timedelta(seconds=start),
        end_time=None if end is None else NOON + timedelta(seconds=end),
        metrics=metrics,
        states=tuple((kind, kind.value.title(), NOON + timedelta(seconds=at)) for kind, at in states),
    )


def make_timeline(*timings: TaskTiming, seconds: float) -> Timeline:
    """Return the timeline of a flow run that took so long."""
    return timeline_of(timings, began=NOON, ended=NOON + timedelta(seconds=seconds))
