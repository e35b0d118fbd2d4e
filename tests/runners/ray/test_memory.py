"""A node that is low on memory: Ray's own monitor kills workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowyard.flows import flow
from flowyard.process.backends import PROCESS
from flowyard.schemas.filters import LogFilter
from flowyard.schemas.states import State
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import await_arrival
from flowyard_ray import RayTaskRunner

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def address(ray_tools: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cluster whose node is low on memory from the start: its monitor kills whatever runs for a moment."""
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.001")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ray_tools.running_cluster() as cluster, flowyard_test_harness():
        yield cluster.address


def linger(folder: str) -> None:
    await_arrival(folder, "never")


def test_a_task_that_the_memory_monitor_kills_is_crashed_with_the_cause_and_tried_again_if_it_may(
    address: str, tmp_path: Path
) -> None:
    folder = str(tmp_path)
    lingering = task(linger).with_options(crash_retries=1)

    @flow(task_runner=RayTaskRunner(address=address))
    def run() -> list[State[Any]]:
        return [lingering.submit(folder).wait()]

    [state] = run(return_state=True).result(raise_on_failure=False)
    assert state.is_crashed()
    assert "Ray killed it because memory ran out" in (state.message or "")
    assert "running low on memory" in (state.message or "")
    logs = PROCESS.backend().control.read_logs(LogFilter(flow_run_id=state.state_details.flow_run_id))
    assert any("Lost worker of Ray; starting attempt 1 of 1" in log.message for log in logs)
