"""What code in tasks can ask of the state backend, wherever the tasks execute."""

# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from uuid import UUID

import pytest
from pydantic import SecretStr

from flowyard.artifacts import create_markdown_artifact, update_progress_artifact
from flowyard.blocks.system import Secret
from flowyard.client import get_client
from flowyard.context import TaskRunContext
from flowyard.exceptions import ObjectNotFound, UpcallTimeout
from flowyard.flows import flow
from flowyard.process.control import control_plane
from flowyard.schemas.filters import ArtifactFilter
from flowyard.schemas.ids import new_id
from flowyard.settings import FLOWYARD_TASK_RUNNER_UPCALL_TIMEOUT_SECONDS, temporary_settings
from flowyard.task_runners.base import TaskRunner
from flowyard.tasks import task
from flowyard.testing.runners.fixtures import FlowsUnderTest
from flowyard.upcalls.desk import UpcallDesk
from flowyard.variables import Variable

T = TypeVar("T")


def _in_a_thread(function: Callable[[], T]) -> T:
    """Call a function in a thread that has no context variables."""
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


class UpcallContract(FlowsUnderTest):
    """Variables and artifacts in tasks; a remote worker asks the process of the flow for them."""

    @pytest.fixture
    def silence(self, runner: TaskRunner, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Let the flow's process answer no question."""
        if not runner.capabilities.processes:
            pytest.skip("tasks execute in the process of their flow, where nothing is asked")
        monkeypatch.setattr(UpcallDesk, "take", lambda desk, question, reply: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
        with temporary_settings({FLOWYARD_TASK_RUNNER_UPCALL_TIMEOUT_SECONDS: 0.3}):
            yield

    def test_a_task_reads_and_writes_variables(self, runner: TaskRunner) -> None:
        @task
        def double(name: str) -> Any:
            return Variable.set("doubled", 2 * Variable.get(name).value, overwrite=True).value

        @flow(task_runner=runner)
        def reads() -> list[Any]:
            Variable.set("read_in_a_task", {"n": [1.5, None, "é"]}, overwrite=True)
            Variable.set("number", 2**70, overwrite=True)

            @task
            def read() -> Any:
                return Variable.get("read_in_a_task").value

            return [read.submit().result(), double.submit("number").result(), Variable.get("doubled").value]

        assert reads() == [{"n": [1.5, None, "é"]}, 2**71, 2**71]

    def test_an_async_task_awaits_them(self, runner: TaskRunner) -> None:
        @task
        async def read() -> Any:
            return (await Variable.get("in_async")).value

        @flow(task_runner=runner)
        def reads() -> Any:
            Variable.set("in_async", 1, overwrite=True)
            return read.submit().result()

        assert reads() == 1

    def test_a_task_that_a_task_calls_reads_them_too(self, runner: TaskRunner) -> None:
        @task
        def inner() -> Any:
            return Variable.get("in_inner").value

        @task
        def outer() -> list[Any]:
            return [inner(), inner.submit().result()]

        @flow(task_runner=runner)
        def reads() -> Any:
            Variable.set("in_inner", 1, overwrite=True)
            return outer.submit().result()

        assert reads() == [1, 1]

    def test_a_task_loads_and_saves_blocks_with_their_secrets(self, runner: TaskRunner) -> None:
        @task
        def read() -> str:
            found = Secret.load("of-the-flow").get()
            Secret(value=SecretStr(f"{found}, read")).save("of-the-task", overwrite=True)
            return found

        @flow(task_runner=runner)
        def reads() -> list[str]:
            Secret(value=SecretStr("open sesame")).save("of-the-flow", overwrite=True)
            return [read.submit().result(), Secret.load("of-the-task").get()]

        assert reads() == ["open sesame", "open sesame, read"]

    def test_the_client_reads_the_run_that_a_task_is_in(self, runner: TaskRunner) -> None:
        @task
        def look() -> tuple[str, str]:
            here = TaskRunContext.get()
            assert here is not None
            assert here.task_run.flow_run_id is not None
            with get_client(sync_client=True) as client:
                flow_run = client.read_flow_run(here.task_run.flow_run_id)
                return client.read_flow(flow_run.flow_id).name, str(flow_run.state_name)

        @flow(task_runner=runner)
        def looked_at() -> tuple[str, str]:
            return look.submit().result()

        assert looked_at() == ("looked-at", "Running")

    def test_artifacts_of_tasks_are_there_in_their_order_when_the_run_ends(self, runner: TaskRunner) -> None:
        @task
        def report(name: str) -> tuple[UUID, list[UUID]]:
            here = TaskRunContext.get()
            assert here is not None
            made = [create_markdown_artifact(f"{name}-{number}", key="task-report") for number in range(3)]
            return here.task_run.id, made

        @flow(task_runner=runner)
        def reports() -> list[tuple[UUID, list[UUID]]]:
            return [future.result() for future in report.map(["a", "b"])]

        made = reports()
        stored = control_plane().artifacts.read_many(ArtifactFilter(keys=("task-report",)))
        found = {record.id: record for record in stored}
        for (task_run_id, ids), name in zip(made, ("a", "b"), strict=True):
            assert ids == sorted(ids), "the ids of one task are in the order in which it made them"
            assert [found[artifact].data for artifact in ids] == [f"{name}-{number}" for number in range(3)]
            assert {found[artifact].task_run_id for artifact in ids} == {task_run_id}
            assert {found[artifact].flow_run_id for artifact in ids} != {None}

    def test_a_thread_that_a_task_starts_finds_them_too(self, runner: TaskRunner) -> None:
        @flow(task_runner=runner)
        def asks() -> tuple[Any, UUID]:
            Variable.set("in_a_thread", "of the flow", overwrite=True)

            @task
            def ask() -> tuple[Any, UUID]:
                return _in_a_thread(
                    lambda: (Variable.get("in_a_thread").value, create_markdown_artifact("x", key="threads-report"))
                )

            return ask.submit().result()

        value, made = asks()
        assert value == "of the flow"
        stored = control_plane().artifacts.read_many(ArtifactFilter(keys=("threads-report",)))
        assert made in [record.id for record in stored]

    @pytest.mark.usefixtures("silence")
    def test_a_thread_that_a_task_starts_asks_the_process_of_the_flow(self, runner: TaskRunner) -> None:
        @task
        def ask() -> tuple[int, str]:
            def wait_for_an_answer() -> str:
                try:
                    Variable.get("anything")
                except UpcallTimeout:
                    return "asked"
                return "looked"

            return os.getpid(), _in_a_thread(wait_for_an_answer)

        @flow(task_runner=runner)
        def asks() -> tuple[int, str]:
            Variable.set("anything", 1, overwrite=True)
            return ask.submit().result()

        # Dask's workers can be threads of the flow's process: who has the backend need not ask.
        pid, how = asks()
        assert how == ("looked" if pid == os.getpid() else "asked")

    def test_what_goes_wrong_is_raised_in_the_task_as_it_is(self, runner: TaskRunner) -> None:
        @task
        def ask_for_nothing(artifact_id: UUID) -> str:
            try:
                update_progress_artifact(artifact_id, 50)
            except ObjectNotFound as error:
                return str(error)
            return "nothing was raised"

        @task
        def write_again() -> None:
            Variable.set("there_already", 2)

        @flow(task_runner=runner)
        def asks(artifact_id: UUID) -> tuple[str, BaseException]:
            Variable.set("there_already", 1, overwrite=True)
            state = write_again.submit(return_state=True)
            return ask_for_nothing.submit(artifact_id).result(), state.result(raise_on_failure=False)

        nothing = new_id()
        text, error = asks(nothing)
        assert text == f"no artifact {nothing} in the state backend"
        assert type(error) is ValueError
        assert "variable 'there_already' exists already" in str(error)

    @pytest.mark.usefixtures("silence")
    def test_a_question_that_nobody_answers_fails_after_a_while(self, runner: TaskRunner) -> None:
        @task
        def read() -> None:
            Variable.get("anything")

        @flow(task_runner=runner)
        def asks() -> Any:
            return read.submit(return_state=True).result(raise_on_failure=False)

        error = asks()
        assert isinstance(error, UpcallTimeout)
        assert error.call == "variables.find"
        assert error.runner == type(runner).__name__
        assert "no answer came within 0.3 s" in str(error)
        assert "FLOWYARD_TASK_RUNNER_UPCALL_TIMEOUT_SECONDS" in str(error)
