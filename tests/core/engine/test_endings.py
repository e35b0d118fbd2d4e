"""Flows whose time is over, or that are stopped, while tasks of them are with a runner that never answers."""

# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false, reportFunctionMemberAccess=false
from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from copy import copy

import pytest

from flowyard import allow_failure, flow, task
from flowyard.exceptions import CancelledRun
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.states import State, StateType
from flowyard.task_runners.base import Capabilities, Handle, TaskConcurrencyType, TaskRunner
from flowyard.task_runners.outcomes import crashed

TAKEN = []
"""The calls that such runners took, with their handles."""
CANCELLED = []
taking = threading.Event()
"""Such a runner has begun to take a call."""


class DeafRunner(TaskRunner):
    """Takes calls and does nothing: as a cluster without the resource they need, whose workers cannot be asked."""

    capabilities = Capabilities(processes=True)

    def __init__(self, says_running=False):
        super().__init__()
        self.says_running = says_running

    @property
    def concurrency_type(self):
        return TaskConcurrencyType.CONCURRENT

    def options(self):
        return {"says_running": self.says_running}

    def submit(self, call, upstream=None):
        self._require_started()
        taking.set()
        time.sleep(0.02)  # as for a large argument: the flow's function may return meanwhile
        if self.says_running:
            running = State(StateType.RUNNING)
            enter_state(call.task_run, running)
            call.recorder.append(TaskRunEntered(call.task_run.id, running))
        handle = Handle(call.task_run.id)
        TAKEN.append((call, handle))
        return handle

    def cancel(self, handle):
        CANCELLED.append(handle)
        return False


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    TAKEN.clear()
    CANCELLED.clear()
    taking.clear()
    monkeypatch.setattr("flowyard.engine.ending._GRACE_SECONDS", 0.05)
    monkeypatch.setattr("flowyard.engine.ending._STOPPED_SECONDS", 0.05)


@task
def one(_=None):
    return 1


def end_of(outcome):
    return asyncio.run(outcome) if asyncio.iscoroutine(outcome) else outcome


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("when", ["in-function", "after-function"])
def test_a_timeout_ends_a_flow_whose_tasks_get_no_place(records, colour, when):
    def body():
        future = one.submit()
        if when == "in-function":
            future.result()

    async def body_async():
        one.submit()
        if when == "in-function":
            await asyncio.sleep(30)

    deaf = flow(name="deaf", task_runner=DeafRunner(), timeout_seconds=0.3)(body if colour == "sync" else body_async)
    state = end_of(deaf(return_state=True))
    assert (state.name, state.message) == ("TimedOut", "Flow run exceeded timeout of 0.3 seconds")
    ended = records.task_runs(state)["one-0"].state
    assert ended.name == "Cancelled"
    assert ended.message == "Flow run exceeded timeout of 0.3 seconds before the task was known to begin"


def test_a_task_that_runs_and_cannot_be_stopped_is_timed_out_and_says_so(records):
    @flow(task_runner=DeafRunner(says_running=True), timeout_seconds=0.2)
    def run():
        one.submit()

    state = run(return_state=True)
    assert state.name == "TimedOut"
    ended = records.task_runs(state)["one-0"].state
    assert (ended.type.value, ended.name) == ("FAILED", "TimedOut")
    assert "could not be stopped" in ended.message


def test_a_direct_call_that_gets_no_place_ends_with_its_flow(records):
    @flow(task_runner=DeafRunner(), timeout_seconds=0.2)
    def run():
        one()

    state = run(return_state=True)
    assert (state.name, state.message) == ("TimedOut", "Flow run exceeded timeout of 0.2 seconds")
    assert records.task_runs(state)["one-0"].state.is_final()


def test_a_direct_call_in_a_thread_of_the_flows_own_is_let_go(records):
    errors = []

    def call():
        try:
            one()
        except Exception as error:
            errors.append(error)

    @flow(task_runner=DeafRunner(), timeout_seconds=0.5)
    def run():
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(call,))
        thread.start()
        threads.append(thread)
        assert taking.wait(90)

    threads = []
    state = run(return_state=True)
    threads[0].join(90)
    assert state.name == "TimedOut"
    assert [type(error) for error in errors] == [CancelledRun]
    assert records.task_runs(state)["one-0"].state.is_final()


@pytest.mark.parametrize("of", ["flow", "task"])
def test_what_a_task_called_ends_with_the_flow_at_the_latest(records, of):
    release = threading.Event()

    @task
    def inner():
        while not release.is_set():
            try:
                release.wait(60)
            except BaseException:
                continue

    @task(timeout_seconds=0.5 if of == "task" else None)
    def outer():
        inner()

    @flow(timeout_seconds=0.5 if of == "flow" else None)
    def ends():
        outer.submit().wait()

    try:
        state = ends(return_state=True)
        names = {name: run.state.name for name, run in records.task_runs(state).items()}
        assert names == {"outer-0": "TimedOut", "inner-0": "TimedOut" if of == "flow" else "Crashed"}
    finally:
        release.set()


def test_what_stops_a_flow_stops_its_direct_call_too(records):
    @flow(name="stopped", task_runner=DeafRunner())
    def run():
        one()

    def interrupt():
        assert taking.wait(90)
        time.sleep(0.1)  # until the call is taken, and waited for
        signal.raise_signal(signal.SIGINT)

    stop = threading.Thread(target=interrupt)
    stop.start()
    with pytest.raises(KeyboardInterrupt):
        run()
    stop.join()
    assert CANCELLED == [handle for _, handle in TAKEN]
    assert records.newest_flow_run("stopped").state.name == "Crashed"


def test_an_outcome_that_comes_late_is_dropped(records):
    @flow(task_runner=DeafRunner(), timeout_seconds=0.2)
    def run():
        futures.append(one.submit())

    futures = []
    state = run(return_state=True)
    call, handle = TAKEN[0]
    handle.complete(crashed(copy(call), RuntimeError("late")))
    assert futures[0].get_state().name == "Cancelled"
    assert records.task_states(state, "one-0") == ["Pending", "Cancelled"]


def test_a_late_outcome_of_a_flow_that_was_stopped_is_dropped(records):
    @flow(name="stopped", task_runner=DeafRunner())
    async def run():
        one.submit()
        await asyncio.sleep(0)
        asyncio.current_task().cancel()
        await asyncio.sleep(30)

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(run())
    call, handle = TAKEN[0]
    call.task_run = copy(call.task_run)
    handle.complete(crashed(call, RuntimeError("late")))
    found = records.newest_flow_run("stopped")
    assert found.state.name == "Crashed"
    assert records.task_states(found, "one-0") == ["Pending", "Crashed"]


def test_what_waits_for_such_a_task_does_not_begin(records):
    @flow(task_runner=DeafRunner(), timeout_seconds=0.2)
    def run():
        first = one.submit()
        one.submit(allow_failure(first))

    state = run(return_state=True)
    assert len(TAKEN) == 1
    assert [each.state.name for each in records.task_runs(state).values()] == ["Cancelled", "Cancelled"]


def test_a_retry_that_is_due_after_the_flows_time_is_not_waited_for(records):
    @task(retries=1, retry_delay_seconds=60)
    def fail():
        raise ValueError("once")

    @flow(timeout_seconds=0.3)
    def run():
        fail.submit()

    state = run(return_state=True)
    assert state.name == "TimedOut"
    assert records.task_runs(state)["fail-0"].state.is_final()


def test_a_map_whose_input_never_comes_ends_with_its_flow(records):
    go_on = threading.Event()

    def numbers():
        yield 1
        go_on.wait(90)
        yield 2

    @flow(timeout_seconds=0.3)
    def run():
        one.map(numbers())

    state = run(return_state=True)
    go_on.set()
    assert state.name == "TimedOut"
    assert list(records.task_runs(state)) == ["one-0.0"]


def test_the_error_of_a_flow_that_was_too_long_names_what_the_user_set(records):
    @flow(timeout_seconds=0.25)
    def run():
        while True:
            time.sleep(0.001)

    @flow(timeout_seconds=0.25)
    async def run_async():
        await asyncio.sleep(30)

    for state in (run(return_state=True), asyncio.run(run_async(return_state=True))):
        with pytest.raises(TimeoutError, match=r"exceeded timeout of 0\.25 seconds$"):
            state.result()


def test_each_attempt_of_a_flow_has_the_whole_time_for_its_tasks(records):
    attempts = []

    @task
    def takes_a_moment():
        time.sleep(0.1)
        return 1

    @flow(timeout_seconds=1.0, retries=1)
    def run():
        attempts.append(1)
        if len(attempts) == 1:
            one.submit().wait()
            while True:
                time.sleep(0.001)
        return takes_a_moment.submit().result()

    assert run() == 1


def test_an_error_of_the_function_outlives_the_time_that_its_tasks_take(records):
    @flow(task_runner=DeafRunner(), timeout_seconds=0.2)
    def run():
        one.submit()
        raise ValueError("mine")

    state = run(return_state=True)
    assert (state.name, state.message) == ("Failed", "Flow run encountered an exception. ValueError: mine")
    assert records.task_runs(state)["one-0"].state.name == "Cancelled"


def test_a_value_that_is_kept_too_late_is_dropped(records):
    kept = threading.Event()
    go_on = threading.Event()

    class Slow:
        def __reduce__(self):
            go_on.wait(90)
            kept.set()
            return int, ()

    @task(persist_result=True)
    def make():
        return Slow()

    @flow(timeout_seconds=0.3)
    def run():
        futures.append(make.submit())

    futures = []
    state = run(return_state=True)
    go_on.set()
    assert kept.wait(90)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("flowyard-worker")]
    for thread in threads:
        thread.join(90)
    assert futures[0].get_state().name == "TimedOut"
    assert records.task_states(state, "make-0") == ["Pending", "Running", "TimedOut"]
