"""What the end of a flow run waited for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.profiling.critical_path import critical_path
from flowyard.profiling.timeline import Timeline
from flowyard.testing.timings import make_timeline, make_timing


def names(timeline: Timeline) -> list[str]:
    return [step.name for step in critical_path(timeline).steps]


def test_the_path_follows_the_input_that_was_ready_last():
    timeline = make_timeline(
        make_timing(1, start=1, end=4),
        make_timing(2, start=1, end=6),
        make_timing(3, start=7, end=9, upstream=[1, 2]),
        make_timing(4, start=1, end=8),
        seconds=10,
    )
    path = critical_path(timeline)
    assert [(step.name, step.flow_seconds, step.queue_seconds, step.task_seconds) for step in path.steps] == [
        ("work-2", 0, 1, 5),
        ("work-3", 0, 1, 2),
    ]
    assert path.tail_seconds == 1
    assert (path.task_seconds, path.queue_seconds, path.flow_seconds) == (7, 2, 1)


def test_calls_one_after_the_other_are_on_the_path_and_the_code_between_them_is_the_flows():
    timeline = make_timeline(
        make_timing(1, created=1, start=1, end=2),
        make_timing(2, created=3, start=3, end=5),
        make_timing(3, created=5, start=5, end=6),
        seconds=6,
    )
    path = critical_path(timeline)
    assert [(step.name, step.flow_seconds) for step in path.steps] == [("work-1", 1), ("work-2", 1), ("work-3", 0)]
    assert path.flow_seconds == 2


def test_what_the_flow_waited_for_before_it_submitted_more_is_on_the_path():
    submitted = [make_timing(number, created=number / 1000, start=1, end=1 + number) for number in range(1, 7)]
    later = make_timing(9, created=7.5, start=8, end=9)
    assert names(make_timeline(*submitted, later, seconds=9)) == ["work-6", "work-9"]


def test_what_ends_while_the_flow_submits_is_not_what_it_waits_for():
    submitted = [
        make_timing(number, created=number / 10, start=number / 10 + 0.01, end=number / 10 + 0.25)
        for number in range(1, 50)
    ]
    path = critical_path(make_timeline(*submitted, seconds=6))
    assert [step.name for step in path.steps] == ["work-49"]
    assert path.steps[0].flow_seconds == pytest.approx(4.9)  # pyright: ignore[reportUnknownMemberType]


def test_without_tasks_all_is_the_flows_own_code():
    path = critical_path(make_timeline(seconds=3))
    assert (path.flow_seconds, path.task_seconds) == (3, 0)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    """Return a timeline whose times agree with each other, as one clock makes them."""
    moments = st.floats(0, 5)
    created, timings, ends = 0.0, [], [0.0]
    for number in range(1, draw(st.integers(1, 12)) + 1):
        created += draw(moments)
        upstream = draw(st.lists(st.integers(1, number - 1), unique=True, max_size=3)) if number > 1 else []
        start = max([created, *(ends[other] for other in upstream)]) + draw(moments)
        ends.append(start + draw(moments))
        timings.append(make_timing(number, created=created, start=start, end=ends[number], upstream=upstream))
    return make_timeline(*timings, seconds=max(ends) + draw(moments))


@given(timelines())
def test_the_parts_of_the_path_add_up_to_the_time_of_the_run(timeline: Timeline):
    path = critical_path(timeline)
    total = path.task_seconds + path.queue_seconds + path.flow_seconds
    assert total == pytest.approx(timeline.seconds, abs=1e-4)  # pyright: ignore[reportUnknownMemberType]


@given(st.lists(st.tuples(*[st.floats(0, 10)] * 3), min_size=1, max_size=10))
def test_clocks_that_disagree_do_not_turn_the_path_round(times: list[tuple[float, float, float]]):
    timings = [
        make_timing(number, created=created, start=start, end=end, upstream=range(1, number))
        for number, (created, start, end) in enumerate(times, 1)
    ]
    path = critical_path(make_timeline(*timings, seconds=10))
    assert len({step.name for step in path.steps}) == len(path.steps)
    assert all(min(step.flow_seconds, step.queue_seconds, step.task_seconds) >= 0 for step in path.steps)
