"""Every built-in runner, held to the contract."""

from __future__ import annotations

import pytest

from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from flowyard.task_runners.base import TaskRunner
from flowyard.task_runners.process import ProcessPoolTaskRunner
from flowyard.testing.runners import TaskRunnerContract, TaskRunnerFlowContract


class TestSequential(TaskRunnerContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return SequentialTaskRunner()


class TestConcurrent(TaskRunnerContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return ConcurrentTaskRunner()


class TestConcurrentWithALimit(TaskRunnerContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return ConcurrentTaskRunner(max_workers=2)


class TestProcessPool(TaskRunnerContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return ProcessPoolTaskRunner(max_workers=2)


class TestFlowsOnSequential(TaskRunnerFlowContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return SequentialTaskRunner()


class TestFlowsOnConcurrent(TaskRunnerFlowContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return ConcurrentTaskRunner()


class TestFlowsOnConcurrentWithALimit(TaskRunnerFlowContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return ConcurrentTaskRunner(max_workers=2)


class TestFlowsOnProcessPool(TaskRunnerFlowContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return ProcessPoolTaskRunner(max_workers=2)
