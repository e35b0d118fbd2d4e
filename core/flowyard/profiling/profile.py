"""The profile of a flow run: what the command `flowyard flow-run profile` shows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from flowyard.profiling.critical_path import CriticalPath, critical_path
from flowyard.profiling.schedule import makespan
from flowyard.profiling.summary import TaskSummary, summaries_of
from flowyard.profiling.timeline import Timeline
from flowyard.profiling.workers import Lane, WorkerUse, seconds_without_tasks, use_of

WORKERS = (1, 2, 4, 8, 16, None)
"""For how many workers the time is predicted, unless somebody asks for others; None for any number."""
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Overhead:
    """Time that was not spent in user code, and that which was.

    Sums over the calls of the flow; None where nothing was measured.
    """

    user_seconds: float
    """In the functions of tasks: the work itself."""
    measured_calls: int
    """How many calls a worker measured; what follows is about those."""
    load_seconds: float | None
    """Unpickling functions and arguments."""
    rest_seconds: float | None
    """Everything else that kept workers busy: states, log lines, packing values."""
    seconds_per_call: float | None
    """Both of them for one call, on average."""
    seconds_without_tasks: float
    """How long no task ran: the flow's own code, submitting, and ways there and back."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """How long the task runs would have taken with so many workers."""

    workers: int | None
    """None for as many as can be used."""
    seconds: float
    is_actual: bool = False
    """The flow run had this number; the difference to what it took tells how far predictions go."""


@dataclass(frozen=True, slots=True)
class RunProfile:
    """Where the time of a flow run went."""

    seconds: float
    """How long the flow run took, or has taken until now."""
    task_runs: int
    """All, nested and unfinished ones included."""
    path: CriticalPath
    workers: Sequence[WorkerUse]
    overhead: Overhead
    predictions: Sequence[Prediction]
    tasks: Sequence[TaskSummary]

    @property
    def slots(self) -> int:
        """How many calls ran at the same time, at most, all workers together."""
        return sum(worker.slots for worker in self.workers)

    def to_record(self) -> dict[str, Any]:
        """Return the profile as JSON has it; seconds are rounded to microseconds."""
        path = self.path
        record = {
            "seconds": self.seconds,
            "task_runs": self.task_runs,
            "critical_path": {
                "task_seconds": path.task_seconds,
                "queue_seconds": path.queue_seconds,
                "flow_seconds": path.flow_seconds,
                "tail_seconds": path.tail_seconds,
                "steps": [asdict(step) for step in path.steps],
            },
            "workers": [asdict(worker) for worker in self.workers],
            "overhead": asdict(self.overhead),
            "predictions": [asdict(prediction) for prediction in self.predictions],
            "tasks": [asdict(summary) for summary in self.tasks],
        }
        return _rounded(record)


def profile_of(timeline: Timeline, lanes: Sequence[Lane], *, workers: Sequence[int | None] = WORKERS) -> RunProfile:
    """Return the profile of a flow run."""
    use = use_of(timeline, lanes)
    return RunProfile(
        seconds=timeline.seconds,
        task_runs=len(timeline.samples),
        path=critical_path(timeline),
        workers=use,
        overhead=_overhead(timeline),
        predictions=_predictions(timeline, workers, actual=len(lanes)),
        tasks=summaries_of(timeline.samples),
    )


def _overhead(timeline: Timeline) -> Overhead:
    measured = [call for call in timeline.calls if call.metrics.worker_seconds is not None]
    load = sum(call.metrics.load_seconds or 0.0 for call in measured)
    busy = sum(call.metrics.worker_seconds or 0.0 for call in measured)
    # With retries in place, what lies between the attempts is no overhead.
    user = sum(max(call.user_seconds, (call.metrics.run_seconds or 0.0)) for call in measured)
    pauses = sum(later.start - earlier.end for call in measured for earlier, later in itertools.pairwise(call.running))
    around = max(busy - load - user - pauses, 0.0)
    return Overhead(
        user_seconds=sum(call.user_seconds for call in timeline.calls),
        measured_calls=len(measured),
        load_seconds=load if measured else None,
        rest_seconds=around if measured else None,
        seconds_per_call=(load + around) / len(measured) if measured else None,
        seconds_without_tasks=seconds_without_tasks(timeline),
    )


def _predictions(timeline: Timeline, workers: Sequence[int | None], actual: int) -> list[Prediction]:
    seconds = [call.busy_seconds for call in timeline.calls]
    upstream = [call.upstream for call in timeline.calls]
    if not seconds:
        return []
    wanted = {*workers, actual}
    ordered = sorted(count for count in wanted if count is not None)
    found = [Prediction(count, makespan(seconds, upstream, count), count == actual) for count in ordered]
    if None in wanted:
        found.append(Prediction(None, makespan(seconds, upstream, None)))
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType]  JSON
    if isinstance(value, (list, tuple)):
        return [_rounded(item) for item in value]  # pyright: ignore[reportUnknownVariableType]  JSON
    return value
