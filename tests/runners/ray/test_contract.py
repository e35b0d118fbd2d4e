"""Ray, held to the contract of task runners: as a driver, and as a `ray://` client."""

from __future__ import annotations

import pytest
from typing_extensions import override

from flowyard.task_runners.base import TaskRunner
from flowyard.testing.runners import TaskRunnerContract, TaskRunnerFlowContract
from flowyard_ray import RayTaskRunner

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("ray_driver")]


class TestCalls(TaskRunnerContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return RayTaskRunner()


class TestFlows(TaskRunnerFlowContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return RayTaskRunner()

    @pytest.mark.parametrize("seed", range(30))
    @override
    def test_a_random_graph_ends_as_on_the_sequential_runner(self, runner: TaskRunner, seed: int) -> None:
        super().test_a_random_graph_ends_as_on_the_sequential_runner(runner, seed)
