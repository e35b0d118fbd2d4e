"""What becomes of a call, and how it is told."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.states import State, StateType
from flowyard.task_runners.base import Handle, Outcome, TaskRunner
from flowyard.testing.runners.calls import make_call, outcome_of, outcomes_of
from flowyard.testing.runners.fixtures import RunnerUnderTest
from flowyard.testing.workloads import PATIENCE_SECONDS, WorkloadError, fail, identity, note, notes


class OutcomeContract(RunnerUnderTest):
    """Outcomes and the handles that carry them."""

    # --- outcomes ----------------------------------------------------------------------------------------

    def test_a_value_comes_back_with_the_bookkeeping(self, started: TaskRunner) -> None:
        made = make_call(identity, x={"a": [1, 2.5, None]})
        outcome = outcome_of(started.submit(made.call))
        assert outcome.state.type is StateType.COMPLETED
        assert outcome.state.result() == {"a": [1, 2.5, None]}
        run = outcome.task_run
        assert run.id == made.call.task_run.id
        assert run.run_count == 1
        assert run.start_time is not None
        assert run.end_time is not None
        assert run.start_time <= run.end_time
        assert run.state is not None
        assert run.state.type is StateType.COMPLETED
        assert outcome.lost_worker is None

    def test_a_worker_says_what_it_measured(self, started: TaskRunner) -> None:
        if not started.capabilities.processes:
            pytest.skip("in the flow's process the engine measures")
        metrics = outcome_of(started.submit(make_call(identity, x=bytes(200_000)).call)).metrics
        assert metrics is not None
        assert metrics.worker
        assert metrics.began is not None
        assert metrics.load_seconds is not None
        assert metrics.run_seconds is not None
        assert metrics.worker_seconds is not None
        assert metrics.worker_seconds >= metrics.load_seconds + metrics.run_seconds
        assert metrics.cpu_seconds is not None
        assert metrics.bytes_in is not None
        assert metrics.bytes_out is not None
        assert 200_000 < metrics.bytes_in < 210_000
        assert 200_000 <= metrics.bytes_out < 210_000

    def test_the_states_of_a_call_reach_the_journal_in_order(self, started: TaskRunner) -> None:
        made = make_call(identity, x=1)
        outcome = outcome_of(started.submit(made.call))
        assert made.states(outcome) == ["Running", "Completed"]

    def test_an_exception_is_the_value_of_a_failed_state(self, started: TaskRunner) -> None:
        state = outcome_of(started.submit(make_call(fail, node=7).call)).state
        assert state.type is StateType.FAILED
        assert "node 7 failed on purpose" in (state.message or "")
        error = state.result(raise_on_failure=False)
        assert type(error) is WorkloadError
        assert error.args == ("node 7 failed on purpose",)
        assert error.node == 7
        assert type(error.__cause__) is LookupError
        with pytest.raises(WorkloadError, match="node 7"):
            state.result()

    def test_a_failed_call_fails_its_own_handle_only(self, started: TaskRunner) -> None:
        calls = [make_call(fail, node=3) if number == 3 else make_call(identity, x=number) for number in range(6)]
        outcomes = outcomes_of([started.submit(made.call) for made in calls])
        assert [outcome.state.name for outcome in outcomes] == ["Completed"] * 3 + ["Failed"] + ["Completed"] * 2

    def test_many_calls_come_back_in_the_order_of_submission(self, started: TaskRunner) -> None:
        handles = started.submit_many([make_call(identity, x=number).call for number in range(200)])
        assert [outcome.state.result() for outcome in outcomes_of(handles)] == list(range(200))

    def test_no_calls_give_no_handles(self, started: TaskRunner) -> None:
        assert started.submit_many([]) == []

    def test_functions_that_cannot_be_imported_are_executed(self, started: TaskRunner) -> None:
        factor = 6

        class Box:
            def __init__(self, content: int) -> None:
                self.content = content

        def multiply(box: Box, by: Callable[[int], int]) -> Box:
            return Box(by(box.content) * factor)

        def four_more(x: int) -> int:
            return x + 4

        value = outcome_of(started.submit(make_call(multiply, box=Box(3), by=four_more).call)).state.result()
        assert type(value) is Box, "a class made in the flow's process is the same class when it comes back"
        assert value.content == 42

    def test_an_async_function_is_executed(self, started: TaskRunner) -> None:
        async def double(x: int) -> int:
            await asyncio.sleep(0)
            return 2 * x

        assert outcome_of(started.submit(make_call(double, x=21).call)).state.result() == 42

    def test_an_async_function_can_fail(self, started: TaskRunner) -> None:
        async def explode() -> None:
            raise WorkloadError(1)

        assert outcome_of(started.submit(make_call(explode).call)).state.is_failed()

    def test_retries_happen_in_one_call(self, started: TaskRunner, folder: str) -> None:
        def flaky(folder: str) -> str:
            note(folder, "attempt")
            if len(notes(folder)) < 5:
                raise WorkloadError(1)
            return "at last"

        made = make_call(flaky, folder=folder, policy=RetryPolicy(retries=3))
        outcome = outcome_of(started.submit(made.call))
        assert outcome.state.result() == "at last"
        assert outcome.task_run.run_count == 3
        assert made.states(outcome) == [
            "Running",
            "AwaitingRetry",
            "Retrying",
            "AwaitingRetry",
            "Retrying",
            "Completed",
        ]

    def test_a_long_delay_gives_the_place_back(self, started: TaskRunner) -> None:
        made = make_call(fail, node=1, policy=RetryPolicy(retries=1, delays=(3600.0,)))
        state = outcome_of(started.submit(made.call)).state
        assert state.name == "AwaitingRetry"
        assert state.state_details.scheduled_time is not None

    # --- handles -------------------------------------------------------------------------------------------

    def test_a_callback_is_called_once_however_late_it_comes(self, started: TaskRunner) -> None:
        handle = started.submit(make_call(identity, x=1).call)
        seen: list[Outcome] = []
        handle.add_done_callback(seen.append)
        outcome = outcome_of(handle)
        handle.add_done_callback(seen.append)
        assert seen == [outcome, outcome]

    def test_a_late_report_is_dropped(self, started: TaskRunner) -> None:
        made = make_call(identity, x=1)
        handle = started.submit(made.call)
        first = outcome_of(handle)
        assert handle.complete(Outcome(made.call.task_run, State(StateType.CRASHED))) is False
        assert handle.outcome is first

    def test_a_call_can_be_submitted_from_a_callback(self, started: TaskRunner) -> None:
        later: list[Handle] = []
        submitted = threading.Event()

        def submit_next(_: Outcome) -> None:
            later.append(started.submit(make_call(identity, x="next").call))
            submitted.set()

        started.submit(make_call(identity, x="first").call).add_done_callback(submit_next)
        assert submitted.wait(PATIENCE_SECONDS)
        assert outcome_of(later[0]).state.result() == "next"

    def test_calls_can_be_submitted_from_several_threads(self, started: TaskRunner) -> None:
        handles: list[Handle] = []

        def submit() -> None:
            handles.extend(started.submit(make_call(identity, x=number).call) for number in range(20))

        threads = [threading.Thread(target=submit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert len(handles) == 80
        assert all(outcome.state.is_completed() for outcome in outcomes_of(handles))
