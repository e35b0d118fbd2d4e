"""Ray, held to the contract of task runners: as a `ray://` client from outside."""

from __future__ import annotations

import pytest

from flowyard.task_runners.base import TaskRunner
from flowyard.testing.runners import TaskRunnerContract, TaskRunnerFlowContract
from flowyard_ray import RayTaskRunner

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("ray_client")]


class TestCalls(TaskRunnerContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return RayTaskRunner()


class TestFlows(TaskRunnerFlowContract):
    @pytest.fixture
    def runner(self) -> TaskRunner:
        return RayTaskRunner()
