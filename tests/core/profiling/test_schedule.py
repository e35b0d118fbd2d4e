"""Predicted times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.profiling.schedule import chains, makespan

_ROUNDING = 1e-6
Graph = tuple[list[float], list[list[int]]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    seconds = draw(st.lists(st.floats(0, 100), max_size=25))
    upstream = [
        draw(st.lists(st.integers(0, number - 1), unique=True, max_size=4)) if number else []
        for number in range(len(seconds))
    ]
    return seconds, upstream


@given(graphs(), st.integers(1, 30))
def test_a_prediction_lies_within_grahams_bounds(graph: Graph, workers: int):
    seconds, upstream = graph
    predicted = makespan(seconds, upstream, workers)
    longest = max(chains(seconds, upstream), default=0.0)
    assert predicted >= longest - _ROUNDING
    assert predicted >= sum(seconds) / workers - _ROUNDING
    assert predicted <= sum(seconds) / workers + longest * (1 - 1 / workers) + _ROUNDING


@given(graphs())
def test_one_worker_does_all_the_work_and_enough_of_them_only_the_longest_chain(graph: Graph):
    seconds, upstream = graph
    assert makespan(seconds, upstream, 1) == pytest.approx(sum(seconds))  # pyright: ignore[reportUnknownMemberType]
    enough = makespan(seconds, upstream, max(len(seconds), 1))
    assert makespan(seconds, upstream, None) == pytest.approx(enough)  # pyright: ignore[reportUnknownMemberType]


def test_a_free_worker_takes_the_oldest_call_that_is_ready():
    #  0 takes 3, and 1 takes 1; then 2, which needs 1, and 3, which needs nothing
    assert makespan([3, 1, 4, 2], [[], [], [1], []], 2) == 5
    assert makespan([3, 1, 2, 4], [[], [], [], [1]], 2) == 7


def test_more_workers_can_take_longer():
    # Graham 1969, figure 5: nine calls in the order of their numbers; a fourth worker makes it 15 instead of 12.
    seconds = [3.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0, 9.0]
    upstream = [[], [], [], [], [3], [3], [3], [3], [0]]
    assert makespan(seconds, upstream, 3) == 12
    assert makespan(seconds, upstream, 4) == 15


def test_no_worker_is_refused():
    with pytest.raises(ValueError, match="workers=0"):
        makespan([1.0], [[]], 0)
