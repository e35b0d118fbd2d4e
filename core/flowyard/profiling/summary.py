"""What the runs of each task have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from flowyard.profiling.timeline import Sample
from flowyard.schemas.states import StateType

_BAD = frozenset({StateType.FAILED, StateType.CRASHED})


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """The runs of one task. Medians and 95th percentiles are of those that started; None when none did."""

    task_name: str
    runs: int
    failures: int
    """Failed or Crashed."""
    retries: int
    total_seconds: float
    """In state Running, all together."""
    run_p50: float | None
    run_p95: float | None
    queue_p50: float | None
    queue_p95: float | None


@dataclass(slots=True)
class _Gathered:
    runs: int = 0
    failures: int = 0
    retries: int = 0
    running: list[float] = field(default_factory=list[float])
    queued: list[float] = field(default_factory=list[float])


def summaries_of(samples: Iterable[Sample]) -> list[TaskSummary]:
    """Return a summary for each task, the one that took longest in all first."""
    gathered: dict[str, _Gathered] = {}
    for sample in samples:
        into = gathered.get(sample.task_name)
        if into is None:
            into = gathered[sample.task_name] = _Gathered()
        into.runs += 1
        into.failures += sample.state_type in _BAD
        into.retries += sample.retries
        if sample.run_seconds is not None:
            into.running.append(sample.run_seconds)
            into.queued.append(sample.queue_seconds)
    found = [_summary(name, of) for name, of in gathered.items()]
    return sorted(found, key=lambda summary: (-summary.total_seconds, summary.task_name))


def _summary(name: str, of: _Gathered) -> TaskSummary:
    of.running.sort()
    of.queued.sort()
    return TaskSummary(
        name,
        of.runs,
        of.failures,
        of.retries,
        sum(of.running),
        percentile(of.running, 0.5),
        percentile(of.running, 0.95),
        percentile(of.queued, 0.5),
        percentile(of.queued, 0.95),
    )


def percentile(ordered: Sequence[float], share: float) -> float | None:
    """Return the smallest of some sorted values that at least `share` of them do not exceed (nearest rank)."""
    if not ordered:
        return None
    return ordered[max(math.ceil(len(ordered) * share), 1) - 1]
