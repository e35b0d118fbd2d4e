# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false
from __future__ import annotations

import asyncio
import contextlib
import functools

import pytest

from flowyard import flow, get_run_logger, task
from flowyard.context import get_run_context
from flowyard.runtime import flow_run, task_run
from flowyard.schemas.filters import LogFilter
from flowyard.states import Cancelled
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from flowyard.variables import Variable


class Calls(list):
    """A list of what happened, and makers of hooks that add to it."""

    def hook(self, name):
        def hook(subject, run, state):
            self.append((name, subject.name, state.name))

        hook.__name__ = name
        return hook

    def async_hook(self, name):
        async def hook(subject, run, state):
            await asyncio.sleep(0)
            self.append((name, subject.name, state.name))

        return hook

    @property
    def names(self):
        return [call[0] for call in self]


@pytest.fixture
def calls():
    return Calls()


def fail():
    raise ValueError("no good")


def crash():
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(lambda: 1, ["running", "completion"], id="completed"),
        pytest.param(fail, ["running", "failure"], id="failed"),
        pytest.param(crash, ["running", "crashed"], id="crashed"),
        pytest.param(lambda: Cancelled(), ["running"], id="cancelled"),
    ],
)
@pytest.mark.parametrize("kind", ["hook", "async_hook"])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_the_hooks_of_a_flow_run_for_the_state_it_enters(records, calls, body, expected, kind, colour):
    make = getattr(calls, kind)
    options = {f"on_{name}": [make(name)] for name in ("running", "completion", "failure", "crashed", "cancellation")}

    async def body_async():
        return body()

    run = flow(name="f", **options)(body if colour == "sync" else body_async)
    with contextlib.suppress(SystemExit):
        run(return_state=True) if colour == "sync" else asyncio.run(run(return_state=True))
    assert calls.names == expected


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), SequentialTaskRunner()], ids=repr)
@pytest.mark.parametrize("how", ["call", "submit"])
@pytest.mark.parametrize("kind", ["hook", "async_hook"])
@pytest.mark.parametrize(("body", "expected"), [(lambda: 1, "completion"), (fail, "failure")])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_the_hooks_of_a_task_run_for_its_final_state(records, calls, runner, how, kind, body, expected, colour):
    async def body_async():
        return body()

    make = getattr(calls, kind)
    hooked = task(name="t", retries=1, on_completion=[make("completion")], on_failure=[make("failure")])(
        body if colour == "sync" else body_async
    )

    @flow(task_runner=runner)
    def run():
        hooked(return_state=True) if how == "call" else hooked.submit().wait()
        return 1

    run()
    assert calls.names == [expected]


def test_hooks_run_in_order_and_the_error_of_one_is_logged_and_hurts_nobody(records, calls):
    def broken(flow, flow_run, state):
        raise KeyError("oops")

    @flow(on_completion=[calls.hook("first"), broken, calls.hook("second")])
    def run():
        return 5

    state = run(return_state=True)
    assert state.result() == 5
    assert calls.names == ["first", "second"]
    logs = records.logs(state)
    assert any("An error was encountered while running hook 'broken'" in line for line in logs)
    assert "Running hook 'first' in response to entering state 'Completed'" in logs
    assert "Hook 'second' finished running successfully" in logs


def test_a_partial_is_a_hook(records, calls):
    def hook(flow, flow_run, state, word):
        calls.append((word, flow_run.name, state.name))

    @flow(on_completion=[functools.partial(hook, word="hello")])
    def run():
        return 5

    run()
    assert calls.names == ["hello"]


def test_a_hook_takes_what_it_is_given_by_name_in_any_order(records):
    seen = []

    def turned(state, flow_run, flow):
        seen.append((flow.name, flow_run.name, state.name))

    def any_of_it(**told):
        seen.append(tuple(told[name].name for name in ("flow", "flow_run", "state")))

    def keywords(*, flow, state, flow_run):
        seen.append((flow.name, flow_run.name, state.name))

    def other_names(subject, run, state):
        seen.append((subject.name, run.name, state.name))

    def in_order(*given):
        seen.append(tuple(one.name for one in given))

    @flow(flow_run_name="named", on_completion=[turned, any_of_it, keywords, other_names, in_order])
    def run():
        return 5

    run()
    assert seen == [("run", "named", "Completed")] * 5


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), SequentialTaskRunner()], ids=repr)
@pytest.mark.parametrize("how", ["call", "submit"])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_hook_of_a_task_sees_its_task_run(records, runner, how, colour):
    seen = []

    def note():
        get_run_logger().info("from %s", task_run.name)
        seen.append((task_run.name, task_run.parameters, get_run_context().parameters, flow_run.flow_name))

    def hook(task, task_run, state):
        note()

    async def async_hook(task, task_run, state):
        note()

    @task(on_completion=[hook, async_hook])
    def work(x):
        return x

    def body():
        return work.submit(7).result() if how == "submit" else work(7)

    async def body_async():
        return body()

    run = flow(name="f", task_runner=runner)(body if colour == "sync" else body_async)
    state = run(return_state=True) if colour == "sync" else asyncio.run(run(return_state=True))
    assert state.result() == 7
    assert seen == [("work-0", {"x": 7}, {"x": 7}, "f")] * 2
    (made,) = records.task_runs(state).values()
    lines = records.control.read_logs(LogFilter(task_run_id=made.id))
    of_the_task = [line.message for line in lines]
    assert of_the_task.count("from work-0") == 2
    assert "Running hook 'hook' in response to entering state 'Completed'" in of_the_task


def test_what_the_hook_of_a_task_calls_is_called_by_the_flow(records):
    @task
    def tell():
        pass

    def hook(task, task_run, state):
        tell()

    @task(on_completion=[hook])
    def work():
        tell()

    @flow
    def run():
        work()

    runs = records.all_task_runs(run(return_state=True))
    assert sorted((made.task_name, made.parent_task_run_id is not None) for made in runs) == [
        ("tell", False),
        ("tell", True),
        ("work", False),
    ]


def test_a_hook_that_holds_the_loop_of_its_flow_may_call_async_tasks(records):
    seen = []

    @task
    async def tell(x):
        await asyncio.sleep(0)
        return x

    def hook(task, task_run, state):
        seen.append((tell(1), tell.submit(2).result()))

    async def async_hook(task, task_run, state):
        future = await tell.submit(2)
        seen.append((await tell(1), await future.result()))

    @task(on_completion=[hook, async_hook])
    def work():
        pass

    @flow
    async def run():
        work()

    assert asyncio.run(run(return_state=True)).is_completed()
    assert seen == [(1, 2)] * 2


def test_what_has_both_colours_goes_by_the_hook_not_by_the_run(records):
    seen = []

    def hook(task, task_run, state):
        seen.append(Variable.get("missing", default="sync"))

    async def async_hook(task, task_run, state):
        seen.append(await Variable.get("missing", default="async"))

    @task(on_completion=[hook, async_hook])
    def work():
        pass

    @task(on_completion=[hook, async_hook])
    async def work_async():
        pass

    @flow
    async def run():
        work()
        await work_async()
        work.submit().wait()

    assert asyncio.run(run(return_state=True)).is_completed()
    assert seen == ["sync", "async"] * 3


def test_a_hook_gets_the_run_as_it_is_and_may_log(records):
    seen = {}

    def flow_hook(flow, flow_run, state):
        seen["flow"] = (flow is run, flow_run.state is state, flow_run.run_count)
        get_run_logger().info("from the flow hook")

    def task_hook(task, task_run, state):
        seen["task"] = (task is work, task_run.name, task_run.state is state)
        get_run_logger().info("from the task hook")

    @task(on_completion=[task_hook])
    def work():
        pass

    @flow(on_completion=[flow_hook])
    def run():
        work()

    state = run(return_state=True)
    assert seen == {"flow": (True, True, 1), "task": (True, "work-0", True)}
    assert {"from the flow hook", "from the task hook"} <= set(records.logs(state))


def test_failure_hooks_wait_until_no_retry_is_left(records, calls):
    @task(retries=2, on_failure=[calls.hook("task")])
    def broken():
        raise ValueError

    @flow(retries=1, on_failure=[calls.hook("flow")], on_running=[calls.hook("running")])
    def run():
        broken()

    run(return_state=True)
    assert calls.names == ["running", "task", "running", "task", "flow"]


def test_the_hooks_of_a_subflow_run_in_it(records, calls):
    @flow(on_completion=[calls.hook("child")])
    def child():
        return 1

    @flow(on_completion=[calls.hook("parent")])
    def parent():
        child()
        return 1

    parent()
    assert calls.names == ["child", "parent"]


def test_a_task_that_was_not_ready_runs_no_hook(records, calls):
    @task
    def broken():
        raise ValueError

    @task(on_failure=[calls.hook("failure")], on_completion=[calls.hook("completion")])
    def after(x):
        pass

    @flow
    def run():
        after.submit(broken.submit()).wait()
        return 1

    run()
    assert calls == []
