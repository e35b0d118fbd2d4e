"""How busy workers were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.profiling.workers import UNNAMED, lanes_of, seconds_without_tasks, use_of
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.states import StateType
from flowyard.testing.timings import make_timeline, make_timing

S = StateType


def on(worker: str) -> TaskMetrics:
    return TaskMetrics(worker=worker)


def test_a_worker_is_busy_while_it_executes():
    timeline = make_timeline(
        make_timing(1, start=0, end=2, metrics=on("a")),
        make_timing(2, start=2, end=4, metrics=on("a")),
        make_timing(3, start=1, end=2, metrics=on("b")),
        seconds=8,
    )
    first, second = use_of(timeline, lanes_of(timeline), columns=4)
    assert (first.worker, first.slots, first.calls, first.busy_seconds, first.busy) == ("a", 1, 2, 4, 0.5)
    assert first.over_time == (1, 1, 0, 0)
    assert second.over_time == (0.5, 0, 0, 0)


def test_calls_that_overlap_on_one_worker_have_slots_of_their_own():
    timeline = make_timeline(
        make_timing(1, start=0, end=4),
        make_timing(2, start=1, end=2),
        make_timing(3, start=2, end=3),
        seconds=4,
    )
    lanes = lanes_of(timeline)
    assert [[call.name for _, call in lane.parts] for lane in lanes] == [["work-1"], ["work-2", "work-3"]]
    (use,) = use_of(timeline, lanes)
    assert (use.worker, use.slots, use.calls, use.busy) == (UNNAMED, 2, 3, 0.75)


def test_a_call_that_waits_for_its_retry_keeps_no_worker_busy():
    states = [(S.RUNNING, 0.0), (S.SCHEDULED, 1.0), (S.RUNNING, 3.0), (S.COMPLETED, 4.0)]
    timeline = make_timeline(make_timing(1, start=0, end=4, states=states), seconds=4)
    (use,) = use_of(timeline, lanes_of(timeline), columns=4)
    assert (use.calls, use.busy_seconds, use.over_time) == (1, 2, (1, 0, 0, 1))
    assert seconds_without_tasks(timeline) == 2


def test_workers_are_listed_in_the_order_of_their_numbers():
    workers = ["worker-10 (pid 1)", "worker-9 (pid 2)", "Thread"]
    timings = [make_timing(number, start=0, end=1, metrics=on(name)) for number, name in enumerate(workers)]
    assert [lane.worker for lane in lanes_of(make_timeline(*timings, seconds=1))] == [
        "Thread",
        "worker-9 (pid 2)",
        "worker-10 (pid 1)",
    ]


spans = st.tuples(st.floats(0, 10), st.floats(0, 5)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(st.tuples(spans, st.sampled_from("ab")), max_size=20))
def test_lanes_hold_every_call_once_without_overlap(drawn: list[tuple[tuple[float, float], str]]):
    timings = [
        make_timing(number, start=start, end=end, metrics=on(worker))
        for number, ((start, end), worker) in enumerate(drawn)
    ]
    timeline = make_timeline(*timings, seconds=15)
    lanes = lanes_of(timeline)
    assert sorted(call.number for lane in lanes for _, call in lane.parts) == list(range(len(drawn)))
    for lane in lanes:
        for (earlier, _), (later, _) in zip(lane.parts, lane.parts[1:], strict=False):
            assert earlier.end <= later.start
    for use in use_of(timeline, lanes):
        assert 0 <= use.busy <= 1 + 1e-9
        mean = sum(use.over_time) / len(use.over_time)
        assert mean == pytest.approx(use.busy, abs=1e-6)  # pyright: ignore[reportUnknownMemberType]
