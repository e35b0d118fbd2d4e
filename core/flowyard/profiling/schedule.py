"""How long a flow run would have taken with another number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush


def makespan(seconds: Sequence[float], upstream: Sequence[Sequence[int]], workers: int | None) -> float:
    """Return when the last of some calls ends, if a free worker always takes the oldest call that is ready.

    All calls are known from the start, and passing values takes no time. The order is a rule of thumb, and no rule of
    that kind is always the best: more workers can take a little longer (Graham's anomalies). The result is never more
    than the longest chain and an equal share of the work together.

    Args:
        seconds: how long each call takes.
        upstream: for each call the numbers of those it waits for, smaller than its own, each once.
        workers: how many calls run at the same time; None for all that are ready.
    """
    if workers is None:
        return max(chains(seconds, upstream), default=0.0)
    if workers < 1:
        raise ValueError(f"workers={workers!r}: it must be at least 1")
    downstream: list[list[int]] = [[] for _ in seconds]
    missing = [len(numbers) for numbers in upstream]
    for number, numbers in enumerate(upstream):
        for other in numbers:
            downstream[other].append(number)
    ready = [number for number, count in enumerate(missing) if not count]
    heapify(ready)
    running: list[tuple[float, int]] = []
    free, now = workers, 0.0
    while ready or running:
        while ready and free:
            number = heappop(ready)
            heappush(running, (now + seconds[number], number))
            free -= 1
        now = running[0][0]
        while running and running[0][0] == now:
            free += 1
            for number in downstream[heappop(running)[1]]:
                missing[number] -= 1
                if not missing[number]:
                    heappush(ready, number)
    return now


def chains(seconds: Sequence[float], upstream: Sequence[Sequence[int]]) -> list[float]:
    """Return for each call the length of the longest chain of calls that ends with it."""
    found: list[float] = []
    for own, numbers in zip(seconds, upstream, strict=True):
        found.append(own + max((found[number] for number in numbers), default=0.0))
    return found
