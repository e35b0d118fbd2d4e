"""How busy the workers were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from flowyard.profiling.timeline import Call, Interval, Timeline

UNNAMED = "this process"
"""Stands for the worker of calls of which nothing was measured: short ones in the flow's process."""
COLUMNS = 30


@dataclass(frozen=True, slots=True)
class Lane:
    """Calls of one worker that do not overlap, in the order of time."""

    worker: str
    number: int
    """From 1 on; a worker with threads has several lanes."""
    parts: Sequence[tuple[Interval, Call]]


@dataclass(frozen=True, slots=True)
class WorkerUse:
    """How busy one worker was."""

    worker: str
    slots: int
    """How many calls ran on it at the same time, at most."""
    calls: int
    busy_seconds: float
    busy: float
    """Share of the time of the flow run in which its slots were busy."""
    over_time: Sequence[float]
    """The same for equal parts of that time, first to last."""


def lanes_of(timeline: Timeline) -> list[Lane]:
    """Return who executed what when; calls that overlap on one worker are put into as few lanes as possible."""
    by_worker: dict[str, list[tuple[Interval, Call]]] = {}
    for call in timeline.calls:
        parts = by_worker.setdefault(call.metrics.worker or UNNAMED, [])
        parts.extend((interval, call) for interval in call.running)
    found: list[Lane] = []
    for worker in sorted(by_worker, key=_natural):
        found += _lanes(worker, by_worker[worker])
    return found


def _lanes(worker: str, parts: list[tuple[Interval, Call]]) -> list[Lane]:
    parts.sort(key=lambda part: part[0])
    rows: list[list[tuple[Interval, Call]]] = []
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    for part in parts:
        while busy and busy[0][0] <= part[0].start:
            heappush(free, heappop(busy)[1])
        if free:
            row = heappop(free)
        else:
            row = len(rows)
            rows.append([])
        rows[row].append(part)
        heappush(busy, (part[0].end, row))
    return [Lane(worker, number, row) for number, row in enumerate(rows, 1)]


def use_of(timeline: Timeline, lanes: Sequence[Lane], columns: int = COLUMNS) -> list[WorkerUse]:
    """Return how busy each worker was."""
    by_worker: dict[str, list[Lane]] = {}
    for lane in lanes:
        by_worker.setdefault(lane.worker, []).append(lane)
    return [_use(worker, mine, timeline.seconds, columns) for worker, mine in by_worker.items()]


def _use(worker: str, lanes: Sequence[Lane], total: float, columns: int) -> WorkerUse:
    width = total / columns
    filled = [0.0] * columns
    busy = 0.0
    numbers: set[int] = set()
    for lane in lanes:
        for interval, call in lane.parts:
            numbers.add(call.number)
            start, end = max(interval.start, 0.0), min(interval.end, total)
            if end <= start or not width:
                continue
            busy += end - start
            first, last = int(start / width), min(int(end / width), columns - 1)
            for column in range(min(first, columns - 1), last + 1):
                filled[column] += max(min(end, (column + 1) * width) - max(start, column * width), 0.0)
    slots = len(lanes)
    return WorkerUse(
        worker,
        slots,
        len(numbers),
        busy,
        busy / (slots * total) if total else 0.0,
        tuple(min(part / (slots * width), 1.0) if width else 0.0 for part in filled),
    )


def seconds_without_tasks(timeline: Timeline) -> float:
    """Return how long no task ran."""
    covered, at = 0.0, 0.0
    for interval in sorted(interval for call in timeline.calls for interval in call.running):
        start, end = max(interval.start, at), min(interval.end, timeline.seconds)
        if end > start:
            covered += end - start
            at = end
    return max(timeline.seconds - covered, 0.0)


def _natural(worker: str) -> tuple[str, int, str]:
    """Sort `worker-10` behind `worker-2`."""
    head = worker.split(" ")[0]
    text = head.rstrip("0123456789")
    number = head[len(text) :]
    return text, int(number) if number else -1, worker
