"""Calls that wait for a place, overlap, and are cancelled."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowyard.schemas.states import StateType
from flowyard.task_runners.base import Handle, TaskConcurrencyType, TaskRunner
from flowyard.testing.runners.calls import make_call, outcome_of, outcomes_of
from flowyard.testing.runners.fixtures import RunnerUnderTest, skip_sequential
from flowyard.testing.workloads import arrive, await_arrival, identity, meet, meet_async, note, note_async, notes


class PlacesContract(RunnerUnderTest):
    """Cancelling and time."""

    # --- cancelling ------------------------------------------------------------------------------------------

    def test_a_finished_call_cannot_be_cancelled(self, started: TaskRunner) -> None:
        handle = started.submit(make_call(identity, x=1).call)
        outcome = outcome_of(handle)
        assert started.cancel(handle) is False
        assert handle.outcome is outcome

    def test_a_call_that_waits_for_a_place_is_cancelled_before_it_begins(
        self, started: TaskRunner, folder: str
    ) -> None:
        skip_sequential(started)
        blocking = _occupy(started, folder)
        queued = make_call(note, folder=folder, text="never")
        handle = started.submit(queued.call)
        assert started.cancel(handle) is True
        outcome = outcome_of(handle)
        assert outcome.state.type is StateType.CANCELLED
        assert queued.states(outcome)[-1:] == ["Cancelled"]
        arrive(folder, "release")
        assert all(outcome.state.is_completed() for outcome in outcomes_of(blocking))
        assert "notes" not in {path.name for path in Path(folder).iterdir()}, "a cancelled call was executed"

    def test_a_running_call_is_stopped_where_the_runner_can_kill(self, started: TaskRunner, folder: str) -> None:
        if not started.capabilities.kill:
            pytest.skip("the runner cannot stop a running call")
        handle = started.submit(make_call(meet, folder=folder, me="running", other="nobody").call)
        await_arrival(folder, "running")
        assert started.cancel(handle) is True
        assert outcome_of(handle).state.type is StateType.CANCELLED
        assert outcome_of(handle).lost_worker is None, "a cancelled call must not run again as a lost one"
        assert outcome_of(started.submit(make_call(identity, x=1).call)).state.is_completed()

    def test_the_end_settles_calls_that_wait_for_a_place(self, runner: TaskRunner, folder: str) -> None:
        skip_sequential(runner)
        with runner.start():
            _occupy(runner, folder)
            queued = runner.submit(make_call(identity, x=1).call)
        assert outcome_of(queued).state.type is StateType.CANCELLED
        arrive(folder, "release")

    # --- time ---------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("work", [note, note_async], ids=["sync", "async"])
    def test_calls_on_a_sequential_runner_are_executed_in_order(
        self, started: TaskRunner, folder: str, work: Callable[..., Any]
    ) -> None:
        if started.concurrency_type is not TaskConcurrencyType.SEQUENTIAL:
            pytest.skip("the runner is not sequential")
        outcomes_of([started.submit(make_call(work, folder=folder, text=str(n)).call) for n in range(4)])
        assert notes(folder) == [f"{moment} {n}" for n in range(4) for moment in ("begin", "end")]

    @pytest.mark.parametrize("work", [meet, meet_async], ids=["sync", "async"])
    def test_calls_overlap_on_other_runners(self, started: TaskRunner, folder: str, work: Callable[..., Any]) -> None:
        skip_sequential(started)
        handles = [
            started.submit(make_call(work, folder=folder, me=me, other=other).call) for me, other in ("ab", "ba")
        ]
        assert [outcome.state.result() for outcome in outcomes_of(handles)] == ["a", "b"]


def _occupy(runner: TaskRunner, folder: str) -> list[Handle]:
    """Fill every place of a runner with calls that end when `release` arrives; skips without a limit."""
    capacity = runner.capacity()
    if capacity is None or capacity > 64:
        pytest.skip("the runner has no limit that a test can reach")
    handles = [
        runner.submit(make_call(meet, folder=folder, me=f"place-{place}", other="release").call)
        for place in range(capacity)
    ]
    await_arrival(folder, *(f"place-{place}" for place in range(capacity)))
    return handles
