from __future__ import annotations

import pytest

from flowyard.progress.tally import Tally, TaskTally
from flowyard.schemas.states import StateType

PENDING, RUNNING, COMPLETED, FAILED = (
    ("Pending", StateType.PENDING),
    ("Running", StateType.RUNNING),
    ("Completed", StateType.COMPLETED),
    ("Failed", StateType.FAILED),
)


def _live(tally: Tally, *states: tuple[str, StateType], now: float = 0.0) -> None:
    """Let one run of `x` go through states."""
    old: tuple[str | None, StateType | None] = (None, None)
    for state in states:
        tally.apply(("x", state[0], state[1], old[0], old[1]), now)
        old = state


def _counts(task: TaskTally) -> dict[str, int]:
    return {name: count for name, (_, count) in task.by_state.items() if count}


def test_runs_are_counted_in_the_state_they_are_in() -> None:
    tally = Tally()
    _live(tally, PENDING, RUNNING, COMPLETED)
    _live(tally, PENDING, RUNNING, FAILED)
    _live(tally, PENDING, RUNNING)
    _live(tally, PENDING)
    task = tally.tasks["x"]
    assert _counts(task) == {"Pending": 1, "Running": 1, "Completed": 1, "Failed": 1}
    assert (task.total, task.finished) == (4, 2)


def test_what_is_announced_counts_before_it_is_created() -> None:
    tally = Tally()
    tally.apply(("x", 5), 0.0)
    _live(tally, PENDING, RUNNING, COMPLETED)
    assert (tally.tasks["x"].total, tally.tasks["x"].finished) == (5, 1)
    assert not tally.is_finished


def test_a_run_that_starts_again_is_not_finished_any_more() -> None:
    tally = Tally()
    _live(tally, PENDING, RUNNING, COMPLETED, ("AwaitingRetry", StateType.SCHEDULED))
    assert (tally.tasks["x"].finished, tally.is_finished) == (0, False)


def test_rate_and_time_left_follow_the_last_seconds() -> None:
    tally = Tally()
    tally.apply(("x", 100), 0.0)
    for second in range(1, 31):
        _live(tally, PENDING, COMPLETED, now=second)
        if second > 20:
            _live(tally, PENDING, COMPLETED, now=second)  # twice as fast in the end
        tally.sample(second)
    task = tally.tasks["x"]
    assert task.finished == 40
    assert task.rate(30.0) == pytest.approx(2.0)
    assert task.seconds_left(30.0) == pytest.approx(30.0)


def test_when_all_have_ended_the_rate_is_that_of_the_whole() -> None:
    tally = Tally()
    tally.apply(("x", 2), 0.0)
    _live(tally, PENDING, COMPLETED, now=1.0)
    _live(tally, PENDING, COMPLETED, now=4.0)
    assert tally.tasks["x"].rate(100.0) == pytest.approx(0.5)
    assert tally.tasks["x"].seconds_left(100.0) == 0.0


def test_nothing_is_foretold_before_the_first_run_ends() -> None:
    tally = Tally()
    tally.apply(("x", 2), 0.0)
    assert (tally.tasks["x"].rate(1.0), tally.tasks["x"].seconds_left(1.0)) == (None, None)


def test_tasks_keep_the_order_in_which_they_came_up() -> None:
    tally = Tally()
    for name in ("b", "a", "b"):
        tally.apply((name, 1), 0.0)
    assert list(tally.tasks) == ["b", "a"]
