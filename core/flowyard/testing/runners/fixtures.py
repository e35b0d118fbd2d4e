"""The fixtures of the contracts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flowyard.task_runners.base import TaskConcurrencyType, TaskRunner
from flowyard.testing.utilities import flowyard_test_harness


class RunnerUnderTest:
    """The fixtures of both contracts."""

    @pytest.fixture
    def runner(self) -> TaskRunner:
        """The runner under test: not started, with room for at least two calls unless it is sequential."""
        raise NotImplementedError("override the fixture `runner` and return a runner that is not started")

    @pytest.fixture
    def started(self, runner: TaskRunner) -> Iterator[TaskRunner]:
        """The runner, ready for calls."""
        with runner.start():
            yield runner

    @pytest.fixture
    def folder(self, tmp_path: Path) -> str:
        """A folder that the test and all workers see."""
        made = tmp_path / "meeting"
        made.mkdir()
        return str(made)


class FlowsUnderTest(RunnerUnderTest):
    """The same, with a state backend of its own for the flows of a class."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _backend(cls) -> Iterator[None]:
        with flowyard_test_harness():
            yield


def skip_sequential(runner: TaskRunner) -> None:
    """Skip a test of things that overlap."""
    if runner.concurrency_type is TaskConcurrencyType.SEQUENTIAL:
        pytest.skip("a sequential runner executes one call at a time")
