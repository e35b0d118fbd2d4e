"""What every task runner must do, as tests. An outside runner subclasses the two classes and overrides `runner`.

```python
class TestMyRunner(TaskRunnerContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return MyTaskRunner(max_workers=2)
```

`TaskRunnerContract` speaks to the runner directly, `TaskRunnerFlowContract` runs flows on it.
"""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]
import pytest
from typing_extensions import override

from flowyard.annotations import allow_failure, unmapped
from flowyard.context import TaskRunContext, get_run_context
from flowyard.engine.worker import LocalShim
from flowyard.exceptions import TaskRunnerAlreadyStarted, TaskRunnerNotStarted, TaskTimedOut
from flowyard.flows import flow
from flowyard.logging.loggers import get_run_logger
from flowyard.parameters.binding import CallSignature
from flowyard.process.backends import PROCESS
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import JournalEvent, TaskRunEntered
from flowyard.schemas.filters import LogFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.task_runners.base import CallContext, Handle, Outcome, TaskCall, TaskConcurrencyType, TaskRunner, TaskSpec
from flowyard.task_runners.sequential import SequentialTaskRunner
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import (
    PATIENCE_SECONDS,
    WorkloadError,
    arrive,
    await_arrival,
    fail,
    identity,
    meet,
    meet_async,
    note,
    note_async,
    notes,
    random_graph,
    run_graph,
)

_numbers = itertools.count()


class EventList(list[JournalEvent]):
    """A `Recorder` that keeps what it is given."""

    @override
    def append(self, event: JournalEvent) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().append(event)


@dataclass
class RecordedCall:
    """A call with everything it recorded."""

    call: TaskCall
    recorder: EventList

    def states(self, outcome: Outcome) -> list[str]:
        """Return the names of the states that reach the journal, in order."""
        return [
            event.state.name
            for event in [*self.recorder, *outcome.events]
            if isinstance(event, TaskRunEntered) and event.task_run_id == self.call.task_run.id
        ]


def make_call(fn: Callable[..., Any], *, policy: RetryPolicy | None = None, **arguments: Any) -> RecordedCall:
    """Return a call of a plain function, as the engine would hand it to a runner."""
    name = fn.__name__
    number = next(_numbers)
    flow_run = FlowRun(new_id(), "a-flow-run", state=State(StateType.RUNNING))
    run = TaskRun(f"{fn.__module__}.{name}", str(number), f"{name}-{number}", name, flow_run.id)
    if policy is not None:
        run.policy = policy
    enter_state(run, State(StateType.PENDING))
    recorded = EventList()
    spec = TaskSpec(task=None, fn=fn, signature=CallSignature(fn), name=name, is_async=inspect.iscoroutinefunction(fn))
    call = TaskCall(
        spec=spec,
        task_run=run,
        arguments=arguments,
        context=CallContext(flow_run, "a-flow"),
        shim=LocalShim(),
        recorder=recorded,
    )
    return RecordedCall(call, recorded)


def outcome_of(handle: Handle) -> Outcome:
    """Wait for a handle, with a deadline."""
    done = threading.Event()
    handle.add_done_callback(lambda _: done.set())
    assert done.wait(PATIENCE_SECONDS), f"the call of task run {handle.task_run_id} never became done"
    assert handle.outcome is not None
    return handle.outcome


def outcomes_of(handles: Sequence[Handle]) -> list[Outcome]:
    """Wait for several handles."""
    return [outcome_of(handle) for handle in handles]


class RunnerUnderTest:
    """The fixtures of both contracts."""

    @pytest.fixture
    def runner(self) -> TaskRunner:
        """The runner under test: not started, with room for at least two calls unless it is sequential."""
        raise NotImplementedError("override the fixture `runner` and return a runner that is not started")

    @pytest.fixture
    def started(self, runner: TaskRunner) -> Iterator[TaskRunner]:
        """The runner, ready for calls."""
        with runner.start():
            yield runner

    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        """A folder that the test and all workers see."""
        made = tmp_path / "meeting"
        made.mkdir()
        return str(made)


def skip_sequential(runner: TaskRunner) -> None:
    """Skip a test of things that overlap."""
    if runner.concurrency_type is TaskConcurrencyType.SEQUENTIAL:
        pytest.skip("a sequential runner executes one call at a time")


class TaskRunnerContract(RunnerUnderTest):
    """What a runner owes to the engine."""

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


class TaskRunnerFlowContract(RunnerUnderTest):
    """What flows may expect of every runner: the same results, states and errors."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _backend(cls) -> Iterator[None]:
        with flowyard_test_harness():
            yield

    # --- values and states -----------------------------------------------------------------------------------

    def test_tasks_give_values_however_they_are_called(self, runner: TaskRunner) -> None:
        @task
        def double(x: int) -> int:
            return 2 * x

        @flow(task_runner=runner)
        def calls() -> list[Any]:
            state = double(3, return_state=True)
            submitted = double.submit(4, return_state=True)
            mapped = double.map([5, 6], return_state=True)
            return [
                double(1),
                double.submit(2).result(),
                state.result(),
                submitted.result(),
                *(state.result() for state in mapped),
                double.submit(double.submit(7)).result(),
            ]

        assert calls() == [2, 4, 6, 8, 10, 12, 28]

    def test_map_takes_constants_and_whole_lists(self, runner: TaskRunner) -> None:
        @task
        def add(x: int, others: list[int], factor: int) -> int:
            return factor * (x + sum(others))

        @flow(task_runner=runner)
        def mapped() -> list[int]:
            return [future.result() for future in add.map([1, 2, 3], others=unmapped([10, 20]), factor=2)]

        assert mapped() == [62, 64, 66]

    def test_map_takes_futures(self, runner: TaskRunner) -> None:
        one_more = task(_one_more)

        @flow(task_runner=runner)
        def chain() -> list[int]:
            return [future.result() for future in one_more.map(one_more.map(one_more.map([1, 2, 3])))]

        assert chain() == [4, 5, 6]

    def test_an_async_task_in_a_sync_flow_gives_its_value(self, runner: TaskRunner) -> None:
        @task
        async def double(x: int) -> int:
            await asyncio.sleep(0)
            return 2 * x

        @flow(task_runner=runner)
        def calls() -> list[Any]:
            return [double(1), double.submit(2).result(), *(future.result() for future in double.map([3, 4]))]

        assert calls() == [2, 4, 6, 8]

    def test_an_async_flow_awaits_async_tasks(self, runner: TaskRunner) -> None:
        @task
        async def double(x: int) -> int:
            await asyncio.sleep(0)
            return 2 * x

        one_more = task(_one_more)

        @flow(task_runner=runner)
        async def calls() -> list[int]:
            future = await double.submit(2)
            gathered = await asyncio.gather(double(3), double(4))
            return [await double(1), await future.result(), *gathered, one_more(9)]

        assert asyncio.run(calls()) == [2, 4, 6, 8, 10]

    def test_exceptions_are_the_ones_that_were_raised(self, runner: TaskRunner) -> None:
        failing = task(fail)

        @flow(task_runner=runner)
        def calls() -> tuple[list[BaseException], list[str | None]]:
            caught: list[BaseException] = []
            for call in (lambda: failing(1), lambda: failing.submit(2).result()):
                try:
                    call()
                except WorkloadError as error:
                    caught.append(error)
            state = failing.submit(3, return_state=True)
            caught.append(state.result(raise_on_failure=False))
            return caught, [state.name, state.message]

        caught, (name, message) = calls()
        assert [(type(error), str(error)) for error in caught] == [
            (WorkloadError, f"node {number} failed on purpose") for number in (1, 2, 3)
        ]
        assert all(type(error.__cause__) is LookupError for error in caught)
        assert name == "Failed"
        assert message == "Task run encountered an exception. WorkloadError: node 3 failed on purpose"

    def test_a_failed_upstream_leaves_its_consumers_not_ready(self, runner: TaskRunner) -> None:
        failing, same = task(fail), task(identity)

        @flow(task_runner=runner)
        def calls() -> tuple[Any, ...]:
            state: Any = same.submit(failing.submit(1)).wait()
            return state.type, state.name, state.message

        assert calls() == (
            StateType.PENDING,
            "NotReady",
            "Upstream task run 'fail-0' did not reach a 'COMPLETED' state.",
        )

    def test_wait_for_orders_tasks(self, runner: TaskRunner, folder: str) -> None:
        noting = task(note)

        @flow(task_runner=runner)
        def calls() -> None:
            first = noting.submit(folder, "first")
            noting.submit(folder, "second", wait_for=[first]).wait()

        calls()
        assert notes(folder) == ["begin first", "end first", "begin second", "end second"]

    def test_allow_failure_lets_a_consumer_start(self, runner: TaskRunner) -> None:
        failing, same = task(fail), task(identity)

        @flow(task_runner=runner)
        def calls() -> list[Any]:
            failed = failing.submit(1)
            told = same.submit(allow_failure(failed)).result()
            waited = same.submit("went on", wait_for=[allow_failure(failed)]).result()
            return [type(told).__name__, str(told), waited]

        assert calls() == ["WorkloadError", "node 1 failed on purpose", "went on"]

    # --- policies ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("delay", [0, 1.05], ids=["in-place", "later"])
    def test_a_task_is_tried_again(self, runner: TaskRunner, folder: str, delay: float) -> None:
        @task(retries=2, retry_delay_seconds=delay)
        def flaky(folder: str) -> int:
            note(folder, "attempt")
            attempt = len(notes(folder)) // 2
            if attempt < 2:
                raise WorkloadError(attempt)
            return attempt

        @flow(task_runner=runner)
        def calls() -> tuple[int, int]:
            future = flaky.submit(folder)
            return future.result(), future.task_run.run_count

        assert calls() == (2, 2)

    def test_a_condition_can_refuse_a_retry(self, runner: TaskRunner, folder: str) -> None:
        def never(task: Any, task_run: TaskRun, state: State[Any]) -> bool:
            del task
            note(str(Path(folder)), f"asked after attempt {task_run.run_count}: {state.name}")
            return False

        @task(retries=5, retry_condition_fn=never)
        def failing() -> None:
            raise WorkloadError(1)

        @flow(task_runner=runner)
        def calls() -> tuple[str, int]:
            future = failing.submit()
            return future.wait().name, future.task_run.run_count

        assert calls() == ("Failed", 1)
        assert notes(folder) == ["begin asked after attempt 1: Failed", "end asked after attempt 1: Failed"]

    def test_a_task_that_takes_too_long_is_stopped(self, runner: TaskRunner, folder: str) -> None:
        meeting = task(meet).with_options(timeout_seconds=0.3)
        meeting_async = task(meet_async).with_options(timeout_seconds=0.3)

        @flow(task_runner=runner)
        def calls() -> list[Any]:
            states = [work.submit(folder, "a", "nobody").wait() for work in (meeting, meeting_async)]
            return [(state.type.value, state.name, state.result(raise_on_failure=False)) for state in states]

        for state_type, name, error in calls():
            assert (state_type, name) == ("FAILED", "TimedOut")
            assert isinstance(error, TaskTimedOut)
            assert "0.3" in str(error)

    # --- time ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("work", [note, note_async], ids=["sync", "async"])
    def test_submitted_tasks_are_in_order_on_a_sequential_runner(
        self, runner: TaskRunner, folder: str, work: Callable[..., Any]
    ) -> None:
        if runner.concurrency_type is not TaskConcurrencyType.SEQUENTIAL:
            pytest.skip("the runner is not sequential")
        noting = task(work)

        @flow(task_runner=runner)
        def calls() -> None:
            for text in "abc":
                noting.submit(folder, text)

        calls()
        assert notes(folder) == [f"{moment} {text}" for text in "abc" for moment in ("begin", "end")]

    @pytest.mark.parametrize("work", [meet, meet_async], ids=["sync", "async"])
    def test_submitted_tasks_overlap_on_other_runners(
        self, runner: TaskRunner, folder: str, work: Callable[..., Any]
    ) -> None:
        skip_sequential(runner)
        meeting = task(work)

        @flow(task_runner=runner)
        def calls() -> list[str]:
            futures = [meeting.submit(folder, "a", "b"), meeting.submit(folder, "b", "a")]
            return [future.result() for future in futures]

        assert calls() == ["a", "b"]

    def test_submitted_async_tasks_overlap_in_an_async_flow(self, runner: TaskRunner, folder: str) -> None:
        skip_sequential(runner)
        meeting = task(meet_async)

        @flow(task_runner=runner)
        async def calls() -> list[str]:
            futures = [await meeting.submit(folder, "a", "b"), await meeting.submit(folder, "b", "a")]
            return [await future.result() for future in futures]

        assert asyncio.run(calls()) == ["a", "b"]

    def test_gathered_async_tasks_overlap_on_every_runner(self, runner: TaskRunner, folder: str) -> None:
        meeting = task(meet_async)

        @flow(task_runner=runner)
        async def calls() -> list[str]:
            return list(await asyncio.gather(meeting(folder, "a", "b"), meeting(folder, "b", "a")))

        assert asyncio.run(calls()) == ["a", "b"]

    def test_sync_subflows_run_one_after_another(self, runner: TaskRunner, folder: str) -> None:
        noting = task(note)

        @flow(task_runner=runner.duplicate())
        def child(text: str) -> str:
            return noting.submit(folder, text).result()

        @flow(task_runner=runner)
        def parent() -> list[str]:
            return [child("a"), child("b")]

        assert parent() == ["a", "b"]
        assert notes(folder) == ["begin a", "end a", "begin b", "end b"]

    # --- what surrounds a task -----------------------------------------------------------------------------------

    def test_a_task_calls_tasks(self, runner: TaskRunner) -> None:
        one_more = task(_one_more)

        @task
        def outer(x: int) -> list[int]:
            return [one_more(x), one_more.submit(x + 10).result(), *(f.result() for f in one_more.map([20, 30]))]

        @flow(task_runner=runner)
        def calls() -> Any:
            return outer.submit(1).result()

        assert calls() == [2, 12, 21, 31]
        runs = PROCESS.backend().control.read_task_runs()
        inner = [run for run in runs if run.parent_task_run_id is not None and run.task_name == "_one_more"]
        assert len(inner) == 4
        assert all(run.state_name == "Completed" for run in inner)

    def test_what_a_task_logs_and_prints_is_recorded(self, runner: TaskRunner) -> None:
        @task(log_prints=True)
        def talk(word: str) -> None:
            get_run_logger().warning("said %s", word)
            print(f"printed {word}")  # noqa: T201  it is what is tested

        @flow(task_runner=runner)
        def calls() -> tuple[UUID, UUID]:
            future = talk.submit("hello")
            future.wait()
            return future.task_run.id, future.task_run.flow_run_id

        task_run_id, flow_run_id = calls()
        logs = PROCESS.backend().control.read_logs(LogFilter(task_run_id=task_run_id))
        texts = [(log.level, log.message) for log in logs]
        assert (30, "said hello") in texts
        assert (20, "printed hello") in texts
        assert all(log.flow_run_id == flow_run_id for log in logs)

    def test_a_task_knows_its_run_and_flow_run(self, runner: TaskRunner) -> None:
        @task(tags=["mine"])
        def about() -> tuple[Any, ...]:
            context = get_run_context()
            assert isinstance(context, TaskRunContext)
            run = context.task_run
            return run.id, run.name, run.flow_run_id, run.tags, context.task.name

        @flow(task_runner=runner)
        def calls() -> tuple[Any, ...]:
            future = about.submit()
            return future.result(), (future.task_run.id, future.task_run.name, future.task_run.flow_run_id)

        told, (run_id, name, flow_run_id) = calls()
        assert told == (run_id, name, flow_run_id, ("mine",), "about")

    def test_hooks_run_in_the_process_of_the_flow(self, runner: TaskRunner) -> None:
        seen: list[tuple[str, int]] = []

        def hook(task: Any, task_run: TaskRun, state: State[Any]) -> None:
            seen.append((f"{task.name} {task_run.name} {state.name}", os.getpid()))

        @task(on_completion=[hook], on_failure=[hook])
        def work(node: int) -> None:
            if node:
                raise WorkloadError(node)

        @flow(task_runner=runner)
        def calls() -> str:
            for node in (0, 1):
                work.submit(node).wait()
            return "whatever the tasks did"

        calls()
        assert seen == [("work work-0 Completed", os.getpid()), ("work work-1 Failed", os.getpid())]

    def test_every_state_of_a_task_is_recorded(self, runner: TaskRunner) -> None:
        same = task(identity)

        @flow(task_runner=runner)
        def calls() -> UUID:
            future = same.submit(1)
            future.wait()
            return future.task_run.id

        control = PROCESS.backend().control
        run_id = calls()
        assert [state.name for state in control.read_task_run_states(run_id)] == ["Pending", "Running", "Completed"]
        run = control.read_task_run(run_id)
        assert run.run_count == 1
        assert run.start_time is not None
        assert run.end_time is not None

    # --- graphs ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("seed", range(6))
    def test_a_random_graph_ends_as_on_the_sequential_runner(self, runner: TaskRunner, seed: int) -> None:
        nodes = random_graph(seed)
        assert run_graph(nodes, runner) == run_graph(nodes, SequentialTaskRunner()), f"seed {seed}: {nodes}"


def _one_more(x: int) -> int:
    return x + 1
