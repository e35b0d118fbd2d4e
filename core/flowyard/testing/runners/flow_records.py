"""What a task knows of its run, and what is recorded of it."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from typing import Any
from uuid import UUID

from flowyard.context import TaskRunContext, get_run_context
from flowyard.flows import flow
from flowyard.logging.loggers import get_run_logger
from flowyard.process.backends import PROCESS
from flowyard.schemas.filters import LogFilter
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State
from flowyard.settings import (
    FLOWYARD_LOGGING_LEVEL,
    FLOWYARD_RESULTS_SIGNING_KEY,
    get_current_settings,
    temporary_settings,
)
from flowyard.task_runners.base import TaskRunner
from flowyard.tasks import task
from flowyard.testing.runners.fixtures import FlowsUnderTest
from flowyard.testing.workloads import WorkloadError, identity, one_more_than


class FlowRecordsContract(FlowsUnderTest):
    """Nested tasks, logs, context, hooks and states."""

    def test_a_task_calls_tasks(self, runner: TaskRunner) -> None:
        one_more = task(one_more_than)

        @task
        def outer(x: int) -> list[int]:
            return [one_more(x), one_more.submit(x + 10).result(), *(f.result() for f in one_more.map([20, 30]))]

        @flow(task_runner=runner)
        def calls() -> Any:
            return outer.submit(1).result()

        assert calls() == [2, 12, 21, 31]
        runs = PROCESS.backend().control.read_task_runs()
        inner = [run for run in runs if run.parent_task_run_id is not None and run.task_name == "one_more_than"]
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

    def test_tasks_log_at_the_level_of_their_flow(self, runner: TaskRunner) -> None:
        @task
        def talk() -> None:
            get_run_logger().debug("in detail")
            get_run_logger().info("in short")

        @flow(task_runner=runner)
        def calls() -> UUID:
            future = talk.submit()
            future.wait()
            return future.task_run.id

        said: dict[str, set[str]] = {}
        for level in ("DEBUG", "INFO", "ERROR"):
            with temporary_settings({FLOWYARD_LOGGING_LEVEL: level}):
                logs = PROCESS.backend().control.read_logs(LogFilter(task_run_id=calls()))
            said[level] = {log.message for log in logs} & {"in detail", "in short"}
        assert said == {"DEBUG": {"in detail", "in short"}, "INFO": {"in short"}, "ERROR": set()}

    def test_what_a_task_warns_of_is_recorded_once(self, runner: TaskRunner) -> None:
        @task
        def warn(word: str) -> int:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn(f"beware of {word}", FutureWarning, stacklevel=1)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                warnings.warn("caught", UserWarning, stacklevel=1)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with contextlib.suppress(UserWarning):
                    warnings.warn("raised", UserWarning, stacklevel=1)
            return len(caught)

        @flow(task_runner=runner)
        def calls() -> list[tuple[int, UUID]]:
            futures = [warn.submit(word) for word in ("dogs", "cats")]
            return [(future.result(), future.task_run.id) for future in futures]

        with warnings.catch_warnings(record=True):
            done = calls()
        for (count, task_run_id), word in zip(done, ("dogs", "cats"), strict=True):
            logs = PROCESS.backend().control.read_logs(LogFilter(task_run_id=task_run_id))
            [found] = [log for log in logs if log.level == logging.WARNING]
            assert count == 1
            assert found.message.startswith(__file__)
            assert found.message.endswith(f": FutureWarning: beware of {word}")

    def test_settings_go_with_a_task_to_a_runner_of_its_own(self, runner: TaskRunner) -> None:
        @task
        def key() -> str | None:
            return get_current_settings().FLOWYARD_RESULTS_SIGNING_KEY

        @flow
        def calls() -> list[str | None]:
            here = key.submit().result()
            there = key.with_options(task_runner=runner).submit().result()
            return [here, there, key.submit(task_runner=runner).result(), key.submit().result()]

        # Two flows: what a pool of processes starts with comes from the settings of that moment.
        for name in ("the first", "the second"):
            with temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: name}):
                assert calls() == [name] * 4

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
