"""Task runs as calls in time."""

from __future__ import annotations

import pytest

from flowyard.profiling.timeline import Interval
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.states import StateType
from flowyard.testing.timings import make_timeline, make_timing

S = StateType


def test_a_call_waits_in_the_queue_only_after_its_inputs_are_there():
    timeline = make_timeline(
        make_timing(1, start=1, end=5),
        make_timing(2, created=2, start=6, end=7, upstream=[1]),
        seconds=7,
    )
    assert timeline.calls[1].ready == 5
    assert [call.queue_seconds for call in timeline.calls] == [1, 1]


def test_the_time_in_the_queue_is_at_most_what_one_clock_measured():
    metrics = TaskMetrics(queue_seconds=0.25)
    timeline = make_timeline(make_timing(1, start=3, end=4, metrics=metrics), seconds=4)
    assert timeline.calls[0].queue_seconds == 0.25


def test_what_a_task_calls_is_part_of_it():
    timeline = make_timeline(
        make_timing(1, start=0, end=5),
        make_timing(2, start=1, end=2, parent=1),
        make_timing(3, created=5, start=5, end=6, upstream=[2]),
        seconds=6,
    )
    assert [call.name for call in timeline.calls] == ["work-1", "work-3"]
    assert timeline.calls[1].upstream == (0,)
    assert len(timeline.samples) == 3


def test_the_attempts_of_a_call_are_told_apart():
    states = [(S.PENDING, 0.0), (S.RUNNING, 1.0), (S.SCHEDULED, 2.0), (S.RUNNING, 4.0), (S.COMPLETED, 7.0)]
    timeline = make_timeline(make_timing(1, start=1, end=7, states=states), seconds=7)
    call = timeline.calls[0]
    assert call.running == (Interval(1, 2), Interval(4, 7))
    assert call.busy_seconds == 4
    assert timeline.samples[0].retries == 1


def test_a_worker_is_busy_with_loading_and_packing_too():
    metrics = TaskMetrics(worker_seconds=2.5, run_seconds=1.5)
    call = make_timeline(make_timing(1, start=0, end=2, metrics=metrics), seconds=2).calls[0]
    assert (call.busy_seconds, call.user_seconds) == (2.5, 1.5)


def test_a_call_that_runs_goes_on_until_now_and_one_that_waits_is_only_counted():
    timeline = make_timeline(
        make_timing(1, start=1, end=None, state_type=S.RUNNING),
        make_timing(2, start=None, end=None, state_type=S.PENDING),
        make_timing(3, start=None, end=None, state_type=S.PENDING, upstream=[2]),
        seconds=9,
    )
    assert [call.running for call in timeline.calls] == [(Interval(1, 9),)]
    assert [sample.run_seconds for sample in timeline.samples] == [8, None, None]


@pytest.mark.parametrize("upstream", [[7], [2]], ids=["of another flow run", "itself"])
def test_an_input_that_is_no_earlier_call_is_left_out(upstream: list[int]):
    timeline = make_timeline(make_timing(2, start=0, end=1, upstream=upstream), seconds=1)
    assert timeline.calls[0].upstream == ()


def test_a_clock_that_was_set_back_gives_no_negative_times():
    timeline = make_timeline(make_timing(1, created=5, start=4, end=3), seconds=6)
    assert timeline.calls[0].running == (Interval(4, 4),)
    assert timeline.calls[0].queue_seconds == 0
