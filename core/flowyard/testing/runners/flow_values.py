"""What flows get from the tasks of a runner."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowyard.annotations import allow_failure, unmapped
from flowyard.flows import flow
from flowyard.schemas.states import StateType
from flowyard.task_runners.base import TaskRunner
from flowyard.task_runners.sequential import SequentialTaskRunner
from flowyard.tasks import task
from flowyard.testing.runners.fixtures import FlowsUnderTest
from flowyard.testing.workloads import (
    WorkloadError,
    fail,
    identity,
    note,
    notes,
    one_more_than,
    random_graph,
    run_graph,
)


class FlowValuesContract(FlowsUnderTest):
    """Values, states and errors, whatever the order of execution."""

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
        one_more = task(one_more_than)

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

        one_more = task(one_more_than)

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

    # --- graphs ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("seed", range(6))
    def test_a_random_graph_ends_as_on_the_sequential_runner(self, runner: TaskRunner, seed: int) -> None:
        nodes = random_graph(seed)
        assert run_graph(nodes, runner) == run_graph(nodes, SequentialTaskRunner()), f"seed {seed}: {nodes}"
