"""When the tasks of a flow are executed, how often, and for how long."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowyard.exceptions import TaskTimedOut
from flowyard.flows import flow
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State
from flowyard.task_runners.base import TaskConcurrencyType, TaskRunner
from flowyard.tasks import task
from flowyard.testing.runners.fixtures import FlowsUnderTest, skip_sequential
from flowyard.testing.workloads import WorkloadError, meet, meet_async, note, note_async, notes


class FlowOrderContract(FlowsUnderTest):
    """Retries, timeouts, order and overlap."""

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
