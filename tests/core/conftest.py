"""What tests of flows and tasks have in common: a state backend in a folder of its own, and a look at its records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from flowyard.ports import ControlPlane
from flowyard.process.backends import PROCESS, close_backends
from flowyard.schemas.filters import FlowRunFilter, LogFilter, TaskRunFilter
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State
from flowyard.settings import FLOWYARD_HOME, FLOWYARD_LOGGING_LEVEL, temporary_settings


class Records:
    """Reads what was recorded of a flow run, given its id or its state."""

    @property
    def control(self) -> ControlPlane:
        return PROCESS.backend().control

    def flush(self) -> None:
        PROCESS.backend().journal.flush()

    def flow_run(self, run: object) -> FlowRun:
        return self.control.read_flow_run(_flow_run_id(run))

    def flow_states(self, run: object) -> list[str]:
        return [state.name for state in self.control.read_flow_run_states(_flow_run_id(run))]

    def flow_runs(self, flow_name: str) -> list[FlowRun]:
        return self.control.read_flow_runs(FlowRunFilter(flow_names=(flow_name,)))

    def newest_flow_run(self, flow_name: str) -> FlowRun:
        return self.flow_runs(flow_name)[0]

    def all_task_runs(self, run: object) -> list[TaskRun]:
        return self.control.read_task_runs(TaskRunFilter(flow_run_ids=(_flow_run_id(run),)), limit=10_000)

    def task_runs(self, run: object) -> dict[str, TaskRun]:
        """Return the task runs by name; runs that several tasks called may share one."""
        return {task_run.name: task_run for task_run in self.all_task_runs(run)}

    def task_run(self, task_run_id: UUID) -> TaskRun:
        return self.control.read_task_run(task_run_id)

    def task_states(self, run: object, name: str) -> list[str]:
        return [state.name for state in self.states_of(self.task_runs(run)[name])]

    def states_of(self, task_run: TaskRun) -> list[State[Any]]:
        return self.control.read_task_run_states(task_run.id)

    def logs(self, run: object) -> list[str]:
        return [line.message for line in self.control.read_logs(LogFilter(flow_run_id=_flow_run_id(run)), limit=1000)]


def _flow_run_id(run: object) -> UUID:
    if isinstance(run, State):
        assert run.state_details.flow_run_id is not None
        return run.state_details.flow_run_id
    if isinstance(run, FlowRun):
        return run.id
    assert isinstance(run, UUID), run
    return run


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Records]:
    """A fresh state backend for the tests of one module."""
    home = tmp_path_factory.mktemp("home")
    with temporary_settings({FLOWYARD_HOME: home, FLOWYARD_LOGGING_LEVEL: "INFO"}):
        yield Records()
        close_backends()
