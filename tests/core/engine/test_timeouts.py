# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportOperatorIssue=false
from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from flowyard import Flow, flow, task
from flowyard.exceptions import TaskTimedOut
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


def busy():
    """Python code that never ends by itself."""
    while True:
        time.sleep(0.001)


async def sleepy():
    await asyncio.sleep(30)


@pytest.fixture
def stuck() -> Iterator[threading.Lock]:
    """A lock that a test's task waits for in C code; let go at the end."""
    lock = threading.Lock()
    lock.acquire()
    yield lock
    lock.release()


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), SequentialTaskRunner()], ids=repr)
@pytest.mark.parametrize("how", ["call", "submit"])
@pytest.mark.parametrize("body", [busy, sleepy], ids=["sync", "async"])
def test_a_task_that_takes_too_long_fails_as_timed_out(records, runner, how, body):
    slow = task(timeout_seconds=0.05, name="slow")(body)

    @flow(task_runner=runner)
    def run():
        state = slow(return_state=True) if how == "call" else slow.submit(return_state=True)
        return {"type": state.type.value, "name": state.name, "message": state.message, "data": state}

    state = run(return_state=True)
    ended = state.result()
    assert (ended["type"], ended["name"]) == ("FAILED", "TimedOut")
    assert ended["message"] == "Task run exceeded timeout of 0.05 seconds"
    with pytest.raises(TimeoutError):
        ended["data"].result()
    assert records.task_states(state, "slow-0") == ["Pending", "Running", "TimedOut"]


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_task_in_time_gives_its_value(records, colour):
    def quick():
        return 5

    async def quick_async():
        return 5

    quick_task = task(timeout_seconds=20)(quick if colour == "sync" else quick_async)
    assert Flow(lambda: quick_task(), name="x")() == 5


def test_the_function_is_really_interrupted(records):
    ended = threading.Event()
    errors = []

    @task(timeout_seconds=0.05)
    def loop():
        try:
            busy()
        except TimeoutError as error:
            errors.append(error)
            ended.set()
            raise

    Flow(lambda: loop(return_state=True), name="x")(return_state=True)
    assert ended.wait(90)
    assert isinstance(errors[0], TaskTimedOut)
    assert errors[0].seconds == 0.05


def test_a_function_that_is_stuck_outside_of_python_is_left_and_the_state_says_so(records, stuck):
    @task(timeout_seconds=0.02)
    def wait():
        stuck.acquire()
        stuck.release()

    @flow
    def run():
        return {"message": wait(return_state=True).message}

    assert "could not be interrupted" in run()["message"]


def test_a_timeout_is_retried_like_any_failure(records):
    calls = []

    @task(timeout_seconds=0.05, retries=1)
    def slow_once():
        calls.append(1)
        if len(calls) == 1:
            busy()
        return 7

    state = Flow(lambda: slow_once(), name="x")(return_state=True)
    assert state.result() == 7
    assert records.task_states(state, "slow_once-0") == ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]


def test_a_timeout_error_of_the_users_own_is_no_timeout_of_the_run(records):
    @task(timeout_seconds=20)
    async def ask():
        async with asyncio.timeout(0.001):
            await asyncio.sleep(20)

    @task(timeout_seconds=20)
    def ask_sync():
        raise TimeoutError("mine")

    @flow
    def run():
        return {"names": [ask(return_state=True).name, ask_sync(return_state=True).name]}

    assert run() == {"names": ["Failed", "Failed"]}


@pytest.mark.parametrize("body", [busy, sleepy], ids=["sync", "async"])
def test_a_flow_that_takes_too_long_fails_as_timed_out(records, body):
    slow = flow(timeout_seconds=0.05, name="slow-flow")(body)
    outcome = slow(return_state=True)
    state = asyncio.run(outcome) if asyncio.iscoroutine(outcome) else outcome
    assert (state.type.value, state.name) == ("FAILED", "TimedOut")
    assert state.message == "Flow run exceeded timeout of 0.05 seconds"
    with pytest.raises(TimeoutError):
        state.result()
    assert records.flow_states(state) == ["Pending", "Running", "TimedOut"]


@pytest.mark.parametrize("how", ["call", "submit"])
@pytest.mark.parametrize("body", [busy, sleepy], ids=["sync", "async"])
def test_the_timeout_of_a_flow_reaches_its_tasks(records, how, body):
    slow = task(name="slow")(body)

    @flow(timeout_seconds=0.15)
    def run():
        (slow if how == "call" else slow.submit)()

    state = run(return_state=True)
    assert state.is_failed()
    ended = records.task_runs(state)["slow-0"].state
    assert (ended.name, ended.message) == ("TimedOut", "Flow run exceeded timeout of 0.15 seconds")


def test_the_timeout_of_a_flow_reaches_its_subflows(records):
    child = flow(name="child")(busy)

    @flow(timeout_seconds=1.0)  # the child has to begin in that time, on a busy machine too
    def parent():
        child()

    state = parent(return_state=True)
    assert state.name == "TimedOut"
    inner = records.newest_flow_run("child").state
    assert (inner.name, inner.message) == ("TimedOut", "Flow run exceeded timeout of the flow that called it")


def test_a_subflow_that_reports_the_shared_deadline_first_does_not_fail_its_parent(records):
    """As on a busy machine, where the parent's own wait wakes after the child's error has gone through it."""
    child = flow(name="child")(busy)

    @flow(timeout_seconds=1.0)
    async def parent():
        # An event loop that is blocked past the deadline sees the error first, and its own timer later.
        child()

    state = asyncio.run(parent(return_state=True))  # pyright: ignore[reportArgumentType] # a state of it, awaited
    assert state.name == "TimedOut"
    assert state.message == "Flow run exceeded timeout of 1.0 seconds"


def test_a_stuck_flow_is_left_and_the_state_says_so(records, stuck):
    @flow(timeout_seconds=0.02)
    def wait():
        stuck.acquire()
        stuck.release()

    state = wait(return_state=True)
    assert state.name == "TimedOut"
    assert "could not be interrupted" in state.message


def test_a_thread_that_outlives_its_flow_cannot_call_tasks(records):
    go_on = threading.Event()
    failures = []
    done = threading.Event()

    @task
    def late():
        raise AssertionError("must not run")

    @flow(timeout_seconds=0.02)
    def run():
        with contextlib.suppress(TimeoutError):
            go_on.wait(90)
        for call in (late, late.submit):
            try:
                call()
            except Exception as error:
                failures.append(str(error))
        done.set()

    state = run(return_state=True)
    go_on.set()
    assert done.wait(90)
    assert len(failures) == 2
    assert all("has ended" in failure for failure in failures)
    assert records.task_runs(state) == {}
