"""A flow run as a Chrome trace, for https://ui.perfetto.dev and `chrome://tracing`.

The format is "Trace Event Format", JSON object form: complete events (X) for what runs on a track, asynchronous ones
(b, e) for what waits, flow events (s, f) for values that go from one task run to the next, metadata (M) for names.
Times are microseconds since the flow run began.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from flowyard.profiling.timeline import Call, Interval, Timeline
from flowyard.profiling.workers import Lane

Event = dict[str, Any]

_FLOW = 1
_FIRST_WORKER = 2
_SHORTEST_MICROSECONDS = 0.001


def trace_events(timeline: Timeline, lanes: Sequence[Lane], *, name: str) -> Iterator[Event]:
    """Yield the events of a trace; `name` is that of the flow run."""
    yield _name("process_name", _FLOW, 0, f"flow run {name}")
    yield {"ph": "M", "name": "process_sort_index", "pid": _FLOW, "tid": 0, "args": {"sort_index": 0}}
    yield _name("thread_name", _FLOW, 1, "flow")
    yield _slice(name, "flow", Interval(0.0, timeline.seconds), (_FLOW, 1), {"task_runs": len(timeline.samples)})
    place_of: dict[int, tuple[int, int]] = {}
    pid = _FIRST_WORKER - 1
    worker = None
    for lane in lanes:
        if lane.worker != worker:
            worker, pid = lane.worker, pid + 1
            yield _name("process_name", pid, 0, lane.worker)
            yield {"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 0, "args": {"sort_index": pid}}
        yield _name("thread_name", pid, lane.number, f"slot {lane.number}")
        for interval, call in lane.parts:
            if interval == call.running[-1]:
                place_of[call.number] = pid, lane.number
            yield _slice(call.name, call.task_name, interval, (pid, lane.number), _facts(call))
    # Numbers, because Perfetto reads text as hexadecimal digits.
    ids = itertools.count(1)
    for call in timeline.calls:
        yield from _waits(call, ids)
        for number in call.upstream:
            yield from _arrow(timeline.calls[number], call, place_of, next(ids))


def _name(what: str, pid: int, tid: int, text: str) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": text}}


def _slice(name: str, category: str, part: Interval, place: tuple[int, int], args: dict[str, Any]) -> Event:
    pid, tid = place
    return {
        "ph": "X",
        "name": name,
        "cat": category,
        "pid": pid,
        "tid": tid,
        "ts": _micros(part.start),
        "dur": max(_micros(part.end - part.start), _SHORTEST_MICROSECONDS),
        "args": args,
    }


def _facts(call: Call) -> dict[str, Any]:
    state = call.state_type.value if call.state_type is not None else None
    return {"id": call.id, "state": state, **call.metrics.to_record()}


def _waits(call: Call, ids: Iterator[int]) -> Iterator[Event]:
    """Yield the time in the queue, and that before each retry."""
    yield from _wait("queued", call, Interval(max(call.start - call.queue_seconds, 0.0), call.start), next(ids))
    for earlier, later in itertools.pairwise(call.running):
        yield from _wait("awaiting retry", call, Interval(earlier.end, later.start), next(ids))


def _wait(what: str, call: Call, part: Interval, number: int) -> Iterator[Event]:
    if part.end <= part.start:
        return
    common: Event = {"name": what, "cat": what, "pid": _FLOW, "tid": 1, "id": number}
    yield {**common, "ph": "b", "ts": _micros(part.start), "args": {"task_run": call.name}}
    yield {**common, "ph": "e", "ts": _micros(part.end)}


def _arrow(source: Call, target: Call, place_of: dict[int, tuple[int, int]], number: int) -> Iterator[Event]:
    common: Event = {"name": "value", "cat": "value", "id": number}
    last = source.running[-1]
    pid, tid = place_of[source.number]
    # An arrow begins in a slice, and its end is no part of it any more.
    yield {**common, "ph": "s", "pid": pid, "tid": tid, "ts": _micros(last.start + last.seconds / 2)}
    pid, tid = place_of[target.number]
    yield {**common, "ph": "f", "bp": "e", "pid": pid, "tid": tid, "ts": _micros(target.running[-1].start)}


def _micros(seconds: float) -> float:
    return round(seconds * 1e6, 3)
