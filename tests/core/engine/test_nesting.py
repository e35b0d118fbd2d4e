"""Tasks in tasks, tasks outside of flows, and many tasks at once."""

# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportFunctionMemberAccess=false
# pyright: reportOptionalMemberAccess=false
from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from flowyard import Flow, flow, task
from flowyard.context import get_run_context
from flowyard.schemas.filters import TaskRunFilter
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner


@task
def leaf(x=0):
    return x


@task
async def async_leaf(x=0):
    return x


class TestNestedTasks:
    def test_a_nested_run_knows_who_called_it_and_is_numbered_per_caller(self, records):
        @task
        def outer(n):
            return [leaf(n), leaf.submit(n + 1).result(), async_leaf(n + 2)]

        state = Flow(lambda: {"v": outer.map([1, 11]).result()}, name="x")(return_state=True)
        assert state.result() == {"v": [[1, 2, 3], [11, 12, 13]]}
        runs = records.all_task_runs(state)
        outers = {run.id: run.name for run in runs if run.task_name == "outer"}
        leaves = sorted((outers[run.parent_task_run_id], run.name) for run in runs if run.task_name == "leaf")
        assert leaves == [("outer-0", "leaf-0"), ("outer-0", "leaf-1"), ("outer-1", "leaf-0"), ("outer-1", "leaf-1")]
        assert len({(run.task_key, run.dynamic_key) for run in runs}) == len(runs)

    def test_a_nested_failure_is_the_callers_to_handle(self, records):
        @task
        def bad():
            raise ValueError

        @task
        def outer():
            with pytest.raises(ValueError):
                bad()
            return 1

        assert Flow(lambda: outer(), name="x")() == 1

    def test_a_retried_task_calls_the_same_nested_runs_again(self, records):
        calls = []

        @task(retries=1)
        def outer():
            leaf()
            calls.append(1)
            if len(calls) == 1:
                raise ValueError
            return 1

        state = Flow(lambda: outer(), name="x")(return_state=True)
        assert state.result() == 1
        assert {run.state.name for run in records.all_task_runs(state)} == {"Completed"}


class TestTasksOutsideOfFlows:
    def test_a_task_is_recorded_and_gives_its_value(self, records):
        @task(name="alone", retries=1)
        def alone(x):
            context = get_run_context()
            ids.append(context.task_run.id)
            if len(ids) == 1:
                raise ValueError
            return leaf(x)

        ids = []
        assert alone(5) == 5
        run = records.task_run(ids[0])
        assert run.flow_run_id is None
        assert [state.name for state in records.states_of(run)] == [
            *["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]
        ]
        assert run.name.startswith("alone-")
        assert run.dynamic_key.startswith(alone.task_key)

    def test_an_async_task_is_awaited(self, records):
        assert asyncio.run(async_leaf(3)) == 3

    def test_its_nested_tasks_are_linked_to_it(self, records):
        seen = {}

        @task
        def outer():
            seen["outer"] = get_run_context().task_run.id
            return inner()

        @task
        def inner():
            seen["inner"] = get_run_context().task_run.id
            return 1

        assert outer() == 1
        assert records.task_run(seen["inner"]).parent_task_run_id == seen["outer"]

    def test_it_may_submit_and_call_flows(self, records):
        @flow
        def child():
            return leaf(2)

        @task
        def outer():
            return [leaf.submit(1).result(), child()]

        assert outer() == [1, 2]

    def test_it_raises_what_its_function_raised(self, records):
        @task
        def bad():
            raise KeyError("x")

        with pytest.raises(KeyError):
            bad()
        assert bad(return_state=True).is_failed()

    def test_it_is_on_disk_when_the_call_returns(self, records, tmp_path):
        script = tmp_path / "script.py"
        script.write_text(
            "import os\nfrom flowyard import task\n@task\ndef alone():\n    return 1\nalone()\nos._exit(0)\n"
        )
        env = {"FLOWYARD_HOME": str(tmp_path / "home"), "PATH": ""}
        subprocess.run([sys.executable, script], env=env, check=True, timeout=90)
        read = (
            "from flowyard.process.backends import PROCESS\n"
            "print([run.state.name for run in PROCESS.backend().control.read_task_runs()])\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", read], env=env, check=True, timeout=30, capture_output=True, text=True
        )
        assert done.stdout.strip() == "['Completed']"


class TestDepthAndWidth:
    @pytest.mark.parametrize("runner", [ConcurrentTaskRunner(max_workers=2), SequentialTaskRunner()], ids=repr)
    def test_sync_tasks_that_submit_and_wait_50_deep(self, records, runner):
        @task
        def down(n):
            return 0 if n == 0 else 1 + down.submit(n - 1).result()

        assert Flow(lambda: down.submit(50).result(), name="x", task_runner=runner)() == 50

    def test_async_tasks_that_submit_and_wait_50_deep(self, records):
        @task
        async def down(n):
            return 0 if n == 0 else 1 + await down.submit(n - 1).result()

        @flow(task_runner=ConcurrentTaskRunner(max_workers=2))
        async def run():
            return await down.submit(50).result()

        assert asyncio.run(run()) == 50

    def test_tasks_that_pass_a_future_down_instead_of_waiting(self, records):
        @task
        def add(x, y):
            return x + y

        @task
        def down(n):
            return 0 if n == 0 else add(down.submit(n - 1), 1)

        runner = ConcurrentTaskRunner(max_workers=2)
        assert Flow(lambda: down.submit(20).result(), name="x", task_runner=runner)() == 20

    def test_subflows_in_tasks_give_the_place_back(self, records):
        @flow
        def child(n):
            return down.submit(n).result()

        @task
        def down(n):
            return 0 if n == 0 else 1 + child(n - 1)

        runner = ConcurrentTaskRunner(max_workers=1)
        assert Flow(lambda: down.submit(4).result(), name="x", task_runner=runner)() == 4

    def test_a_thousand_submitted_sleeps_overlap(self, records):
        # Every task waits until all are running: that many have to be under way at once.
        barrier = threading.Barrier(100, timeout=90)

        @task
        def meet(n):
            barrier.wait()
            return n

        state = Flow(lambda: {"v": sum(meet.map(range(1000)).result())}, name="x")(return_state=True)
        assert state.result() == {"v": sum(range(1000))}

    def test_a_thousand_async_sleeps_overlap(self, records):
        running = []
        everybody = None

        @task
        async def meet(n):
            running.append(n)
            if len(running) == 1000:
                everybody.set()
            await asyncio.wait_for(everybody.wait(), 30)
            return n

        @flow
        async def run():
            nonlocal everybody
            everybody = asyncio.Event()
            return sum(await asyncio.gather(*[future.result() for future in meet.map(range(1000))]))

        assert asyncio.run(run()) == sum(range(1000))


def test_all_runs_of_a_wide_flow_are_recorded(records):
    state = Flow(lambda: {"v": len(leaf.map(range(300)).result())}, name="x")(return_state=True)
    assert records.control.count_task_runs(TaskRunFilter(flow_run_ids=(state.state_details.flow_run_id,))) == 300
    assert set(records.control.task_run_counts(state.state_details.flow_run_id).items()) == {
        (("leaf", "Completed"), 300)
    }
