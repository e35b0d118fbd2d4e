# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportRedeclaration=false
from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from flowyard import flow, task
from flowyard.context import get_run_context
from flowyard.filesystems import LocalFileSystem
from flowyard.states import Failed
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from flowyard.tasks import exponential_backoff


class Flaky:
    """Fails the first few times it is called."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.failures:
            raise ValueError(f"failure {self.calls}")
        return self.calls


HOW = {
    "call": lambda t: t(return_state=True),
    "submit": lambda t: t.submit(return_state=True),
}


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), SequentialTaskRunner()], ids=repr)
@pytest.mark.parametrize("how", HOW.values(), ids=list(HOW))
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_task_is_retried_until_it_completes_and_every_state_is_on_disk(records, runner, how, is_async):
    body = Flaky(2)
    if is_async:

        async def flaky():
            return body()
    else:

        def flaky():
            return body()

    @flow(task_runner=runner)
    def run():
        return how(task(retries=3)(flaky))

    state = run(return_state=True)
    assert records.task_states(state, "flaky-0") == [
        *["Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed"]
    ]
    recorded = records.task_runs(state)["flaky-0"]
    assert recorded.run_count == 3
    assert state.result().result() == 3


def test_a_task_without_retries_left_fails_with_its_last_error(records):
    body = Flaky(9)

    @flow
    def run():
        task(retries=2)(body)()

    with pytest.raises(ValueError, match="failure 3"):
        run()
    assert body.calls == 3


def test_the_run_knows_how_often_it_has_run(records):
    counts = []

    @task(retries=2)
    def count():
        counts.append(get_run_context().task_run.run_count)
        raise ValueError

    @flow
    def run():
        count(return_state=True)
        return 1

    run()
    assert counts == [1, 2, 3]


@pytest.mark.parametrize(
    ("delay", "waits"),
    [
        pytest.param(0.01, [0.01, 0.01, 0.01], id="number"),
        pytest.param([0.01, 0.02], [0.01, 0.02, 0.02], id="list"),
        pytest.param(lambda retries: [0.01 * retries], [0.03, 0.03, 0.03], id="function"),
        pytest.param(exponential_backoff(0.01), [0.01, 0.02, 0.04], id="exponential"),
    ],
)
def test_the_delays_between_attempts(records, delay, waits):
    @flow
    def run():
        task(retries=3, retry_delay_seconds=delay, name="t")(Flaky(3))()
        return 1

    state = run(return_state=True)
    states = records.states_of(records.task_runs(state)["t-0"])
    planned = [
        (waiting.state_details.scheduled_time - waiting.timestamp).total_seconds()
        for waiting in states
        if waiting.name == "AwaitingRetry"
    ]
    assert planned == pytest.approx(waits)
    for waiting, retrying in itertools.pairwise(states):
        if waiting.name == "AwaitingRetry":
            assert retrying.timestamp >= waiting.state_details.scheduled_time


def test_jitter_spreads_the_delays(records):
    @flow
    def run():
        task(retries=8, retry_delay_seconds=0.01, retry_jitter_factor=1.0, name="t")(Flaky(8))()
        return 1

    states = records.states_of(records.task_runs(run(return_state=True))["t-0"])
    planned = {
        (waiting.state_details.scheduled_time - waiting.timestamp).total_seconds()
        for waiting in states
        if waiting.name == "AwaitingRetry"
    }
    assert len(planned) > 1
    assert max(planned) <= 0.02


class TestConditions:
    @pytest.mark.parametrize(("answer", "calls"), [(True, 3), (False, 1), (1, 3), (None, 1)])
    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_the_condition_decides_whether_a_failure_is_retried(self, records, answer, calls, is_async):
        body = Flaky(9)
        seen = []

        def condition(task, task_run, state):
            seen.append((task.name, task_run.run_count, state.type.value))
            return answer

        async def async_condition(task, task_run, state):
            return condition(task, task_run, state)

        @flow
        def run():
            retried = task(retries=2, name="t", retry_condition_fn=async_condition if is_async else condition)(body)
            return {"state": retried(return_state=True).type.value}

        assert run() == {"state": "FAILED"}
        assert body.calls == calls
        assert seen == [("t", number, "FAILED") for number in range(1, min(calls, 2) + 1)]

    def test_a_condition_that_raises_is_logged_and_means_no(self, records):
        body = Flaky(9)

        def condition(task, task_run, state):
            raise KeyError("oops")

        @flow
        def run():
            task(retries=2, retry_condition_fn=condition)(body)(return_state=True)
            return 1

        state = run(return_state=True)
        assert body.calls == 1
        assert any("retry_condition_fn" in line for line in records.logs(state))

    def test_an_async_task_may_have_a_sync_condition(self, records):
        calls = []

        @task(retries=1, retry_condition_fn=lambda task, run, state: bool(calls))
        async def fail():
            calls.append(1)
            raise ValueError

        @flow
        def run():
            fail(return_state=True)
            return len(calls)

        assert run() == 2


def test_a_long_delay_frees_the_place_of_the_task(records):
    # The retry comes 1.05 seconds later; with one place, `quick` can only run in between if that place is free.
    order = []

    @task(retries=1, retry_delay_seconds=1.05)
    def slow():
        order.append("slow")
        if len(order) == 1:
            raise ValueError

    @task
    def quick():
        order.append("quick")

    @flow(task_runner=ConcurrentTaskRunner(max_workers=1))
    def run():
        slow.submit()
        quick.submit()

    state = run(return_state=True)
    assert order == ["slow", "quick", "slow"]
    assert records.task_states(state, "slow-0") == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]
    names = {line for line in records.logs(state) if "AwaitingRetry" in line}
    assert names == {
        "Received non-final state 'AwaitingRetry' when proposing final state 'Failed' and will attempt to run again..."
    }


class TestFlowRetries:
    def test_the_flow_runs_again_from_the_top_with_its_states_in_order(self, records):
        body = Flaky(2)
        counts = []

        @flow(retries=2)
        def run():
            counts.append(get_run_context().flow_run.run_count)
            return body()

        state = run(return_state=True)
        assert state.result() == 3
        assert counts == [1, 2, 3]
        assert records.flow_states(state) == [
            *["Pending", "Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed"]
        ]
        assert records.flow_run(state).run_count == 3

    def test_an_async_flow_too(self, records):
        body = Flaky(1)

        @flow(retries=1, retry_delay_seconds=0.01)
        async def run():
            return body()

        state = asyncio.run(run(return_state=True))
        assert records.flow_states(state) == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]

    def test_completed_tasks_are_not_executed_again(self, records):
        once, twice = Flaky(0), Flaky(1)

        @task
        def first(x):
            return once()

        @task
        def second(x):
            return twice()

        @flow(retries=1)
        def run():
            return [first(5), second.submit(first.submit(6).result()).result()]

        state = run(return_state=True)
        assert once.calls == 2
        assert state.result() == [1, 2]
        assert records.task_states(state, "first-0") == ["Pending", "Running", "Completed"]
        assert records.task_states(state, "second-0") == ["Pending", "Running", "Failed", "Retrying", "Completed"]
        assert set(records.task_runs(state)) == {"first-0", "first-1", "second-0"}
        assert any("persisted result is used" in line for line in records.logs(state))

    def test_a_task_whose_input_changed_is_executed_again_and_the_log_says_why(self, records):
        seen = []

        @task
        def double(x):
            seen.append(x)
            return 2 * x

        @flow(retries=1)
        def run():
            attempt = get_run_context().flow_run.run_count
            doubled = double(100 + attempt)
            if attempt == 1:
                raise ValueError
            return doubled

        state = run(return_state=True)
        assert seen == [101, 102]
        assert state.result() == 204
        assert records.task_states(state, "double-0") == ["Pending", "Running", "Completed", "Retrying", "Completed"]
        assert any("inputs are not those of the last attempt" in line for line in records.logs(state))

    def test_a_task_that_does_not_persist_is_executed_again(self, records):
        body = Flaky(0)

        @task(persist_result=False)
        def volatile():
            return body()

        @flow(retries=1)
        def run():
            volatile()
            if get_run_context().flow_run.run_count == 1:
                raise ValueError
            return 1

        state = run(return_state=True)
        assert body.calls == 2
        assert records.task_states(state, "volatile-0") == ["Pending", "Running", "Completed", "Retrying", "Completed"]

    def test_results_are_in_the_storage_of_the_flow(self, records, tmp_path):
        @task
        def make():
            return "x" * 10

        @flow(retries=1, result_storage=LocalFileSystem(basepath=str(tmp_path)))
        def run():
            make()
            return 1

        run()
        assert [path for path in tmp_path.rglob("*") if path.is_file()]

    def test_a_flow_that_returns_a_failed_state_is_retried_too(self, records):
        calls = []

        @flow(retries=1)
        def run():
            calls.append(1)
            return Failed(message="x")

        assert run(return_state=True).is_failed()
        assert len(calls) == 2

    def test_a_crash_is_not_retried(self, records):
        calls = []

        @flow(retries=3)
        def run():
            calls.append(1)
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            run()
        assert len(calls) == 1

    def test_each_attempt_has_the_whole_timeout(self, records):
        @flow(retries=1, timeout_seconds=0.3)
        def run():
            if get_run_context().flow_run.run_count == 1:
                while True:
                    time.sleep(0.005)
            return 1

        state = run(return_state=True)
        assert state.result() == 1
        assert records.flow_states(state) == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]

    def test_nested_tasks_are_found_again(self, records):
        inner_calls = Flaky(0)

        @task
        def inner():
            return inner_calls()

        @task
        def outer():
            return inner()

        flaky = Flaky(1)

        @task
        def outer_fails():
            inner()
            return flaky()

        @flow(retries=1)
        def run():
            outer()
            outer_fails()
            return 1

        run()
        assert inner_calls.calls == 2
