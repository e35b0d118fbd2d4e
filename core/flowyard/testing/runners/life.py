"""How a runner begins and ends, and what makes it equal to another."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]
import pytest

from flowyard.exceptions import TaskRunnerAlreadyStarted, TaskRunnerNotStarted
from flowyard.task_runners.base import TaskRunner
from flowyard.task_runners.sequential import SequentialTaskRunner
from flowyard.testing.runners.calls import make_call, outcome_of
from flowyard.testing.runners.fixtures import RunnerUnderTest
from flowyard.testing.workloads import identity


class LifeContract(RunnerUnderTest):
    """Beginning, end, and identity."""

    # --- life ------------------------------------------------------------------------------------------

    def test_a_call_before_start_is_refused(self, runner: TaskRunner) -> None:
        with pytest.raises(TaskRunnerNotStarted, match="not started"):
            runner.submit(make_call(identity, x=1).call)

    def test_a_call_after_the_end_is_refused(self, runner: TaskRunner) -> None:
        with runner.start():
            pass
        with pytest.raises(TaskRunnerNotStarted):
            runner.submit(make_call(identity, x=1).call)

    def test_starting_twice_is_refused(self, started: TaskRunner) -> None:
        with pytest.raises(TaskRunnerAlreadyStarted, match="duplicate"), started.start():
            pass

    def test_a_runner_that_ended_can_start_again(self, runner: TaskRunner) -> None:
        for x in (1, 2):
            with runner.start():
                assert outcome_of(runner.submit(make_call(identity, x=x).call)).state.result() == x

    def test_start_hands_out_the_runner_itself(self, runner: TaskRunner) -> None:
        with runner.start() as started:
            assert started is runner

    def test_an_error_in_the_block_comes_through(self, runner: TaskRunner) -> None:
        with pytest.raises(ZeroDivisionError), runner.start():
            raise ZeroDivisionError

    def test_a_runner_that_did_nothing_ends(self, runner: TaskRunner) -> None:
        with runner.start():
            pass
        with pytest.raises(TaskRunnerNotStarted):
            runner.submit(make_call(identity, x=1).call)

    # --- identity ----------------------------------------------------------------------------------------

    def test_a_duplicate_is_equal_and_not_started(self, started: TaskRunner) -> None:
        copy = started.duplicate()
        assert copy == started
        assert copy is not started
        with copy.start():
            assert outcome_of(copy.submit(make_call(identity, x=1).call)).state.is_completed()

    def test_runners_of_another_type_are_not_equal(self, runner: TaskRunner) -> None:
        class Other(SequentialTaskRunner):
            pass

        assert runner != Other()
        assert runner != "a runner"

    def test_a_runner_can_be_pickled_while_it_runs(self, started: TaskRunner) -> None:
        copy = cloudpickle.loads(cloudpickle.dumps(started))  # pyright: ignore[reportUnknownMemberType]
        assert copy == started
        with pytest.raises(TaskRunnerNotStarted):
            copy.submit(make_call(identity, x=1).call)

    def test_repr_shows_the_type(self, runner: TaskRunner) -> None:
        assert repr(runner).startswith(type(runner).__name__)

    def test_capacity_is_positive_or_unlimited(self, runner: TaskRunner) -> None:
        capacity = runner.capacity()
        assert capacity is None or capacity >= 1
