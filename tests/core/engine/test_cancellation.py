"""BaseExceptions: cancelled tasks and flows, and exits that user code raises."""

# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportArgumentType=false, reportOptionalMemberAccess=false
from __future__ import annotations

import asyncio

import pytest

from flowyard import flow, task
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner

CANCELLED = "Execution was cancelled by the runtime environment."


@task
async def sleep():
    await asyncio.sleep(30)


class TestCancelledTasks:
    def test_a_cancelled_call_is_crashed_and_the_cancellation_goes_on(self, records):
        @flow
        async def run():
            calling = asyncio.ensure_future(sleep())
            while not calling.done():
                await asyncio.sleep(0.01)
                calling.cancel()
            assert calling.cancelled()
            return 1

        state = asyncio.run(run(return_state=True))
        assert state.result() == 1
        recorded = records.task_runs(state)["sleep-0"].state
        assert (recorded.type.value, recorded.message) == ("CRASHED", CANCELLED)

    def test_the_time_limit_of_user_code_around_a_call_works(self, records):
        @flow
        async def run():
            try:
                async with asyncio.timeout(0.05):
                    await sleep()
            except TimeoutError:
                return "in time"

        state = asyncio.run(run(return_state=True))
        assert state.result() == "in time"
        assert records.task_states(state, "sleep-0") == ["Pending", "Running", "Crashed"]

    def test_a_failure_in_a_task_group_cancels_the_others(self, records):
        @task
        async def fail():
            raise ValueError("group")

        @flow
        async def run():
            async with asyncio.TaskGroup() as group:
                group.create_task(sleep())
                group.create_task(fail())

        state = asyncio.run(run(return_state=True))
        assert state.is_failed()
        names = {name: one.state.name for name, one in records.task_runs(state).items()}
        assert names == {"sleep-0": "Crashed", "fail-0": "Failed"}

    def test_a_task_that_raises_a_cancellation_itself_is_crashed(self, records):
        @task
        async def give_up():
            raise asyncio.CancelledError

        @flow
        def run():
            state = give_up.submit().wait()
            return {"state": state.type.value, "message": state.message}

        assert run() == {"state": "CRASHED", "message": CANCELLED}


class TestCancelledFlows:
    def test_a_cancelled_flow_is_crashed_with_what_it_submitted(self, records):
        @flow(name="cancelled")
        async def run():
            sleep.submit()
            started.set()
            await asyncio.sleep(30)

        async def main():
            nonlocal started
            started = asyncio.Event()
            running = asyncio.ensure_future(run())
            await started.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        started = None
        asyncio.run(main())
        found = records.newest_flow_run("cancelled")
        assert (found.state.name, found.state.message) == ("Crashed", CANCELLED)
        assert records.task_runs(found)["sleep-0"].state.name == "Crashed"

    def test_a_flow_that_is_cancelled_while_it_waits_for_its_tasks_is_crashed(self, records):
        @flow(name="cancelled-at-the-end")
        async def run():
            @task
            async def begin():
                started.set()
                await asyncio.sleep(30)

            begin.submit()

        async def main():
            nonlocal started
            started = asyncio.Event()
            running = asyncio.ensure_future(run())
            await started.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        started = None
        asyncio.run(main())
        assert records.newest_flow_run("cancelled-at-the-end").state.message == CANCELLED


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), SequentialTaskRunner()], ids=repr)
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=["SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("how", ["call", "swallowed", "submit"])
def test_an_exit_that_a_task_raises_ends_the_flow_as_crashed(records, runner, error, how):
    @task
    def leave():
        raise error

    @flow(name="left", task_runner=runner)
    def run():
        if how == "submit":
            leave.submit()
            return
        try:
            leave()
        except BaseException:
            if how == "call":
                raise

    with pytest.raises(type(error)):
        run()
    found = records.newest_flow_run("left")
    assert found.state.name == "Crashed"
    assert records.task_states(found, "leave-0") == ["Pending", "Running", "Crashed"]


def test_a_runner_that_cannot_start_crashes_the_run_with_the_reason(records):
    class Broken(SequentialTaskRunner):
        def _start(self, stack):
            raise OSError("no cluster")

    @flow(name="broken-runner", task_runner=Broken())
    def run():
        raise AssertionError("must not run")

    with pytest.raises(OSError, match="no cluster"):
        run()
    found = records.newest_flow_run("broken-runner")
    assert found.state.name == "Crashed"
    assert "no cluster" in found.state.message
