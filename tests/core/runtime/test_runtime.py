from __future__ import annotations

import importlib
from collections.abc import Generator
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from flowyard import runtime
from flowyard.context import FlowRunContext, RunContext, TaskRunContext, entered
from flowyard.exceptions import ObjectNotFound
from flowyard.process.backends import PROCESS
from flowyard.runtime import deployment, flow_run, task_run
from flowyard.schemas.events import JournalEvent
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import Flow, FlowRun, TaskRun
from flowyard.settings import FLOWYARD_API_URL, FLOWYARD_UI_URL, temporary_settings


class NoRecorder:
    def append(self, event: JournalEvent) -> None:
        raise AssertionError(event)


class FakeControl:
    """A control plane that has what was put into it."""

    def __init__(self) -> None:
        self.flows: dict[object, Flow] = {}
        self.flow_runs: dict[object, FlowRun] = {}
        self.task_runs: dict[object, TaskRun] = {}

    def read_flow(self, flow_id: object) -> Flow:
        return self.flows[flow_id]

    def read_flow_run(self, flow_run_id: object) -> FlowRun:
        if flow_run_id not in self.flow_runs:
            raise ObjectNotFound("flow run", flow_run_id)
        return self.flow_runs[flow_run_id]

    def read_task_run(self, task_run_id: object) -> TaskRun:
        return self.task_runs[task_run_id]


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> FakeControl:
    control = FakeControl()
    monkeypatch.setattr(PROCESS, "backend", lambda: SimpleNamespace(control=control))
    return control


@pytest.fixture
def run() -> FlowRun:
    return FlowRun(
        new_id(), "happy-otter", flow_name="my-flow", flow_version="7", tags=["a"], run_count=2, parameters={"x": "1"}
    )


@pytest.fixture
def in_task(run: FlowRun) -> Generator[TaskRun]:
    flow = SimpleNamespace(name="my-flow", version="7")
    its_run = TaskRun("key", "0", "x-0", "x", flow_run_id=run.id, tags=("t",), run_count=3)
    flow_context = FlowRunContext(flow=flow, flow_run=run, parameters={"x": 1}, recorder=NoRecorder())
    task_context = TaskRunContext(task=None, task_run=its_run, parameters={"y": 2}, recorder=NoRecorder())
    with entered(RunContext(flow_context, task_context)):
        yield its_run


EMPTY: list[tuple[ModuleType, str, Any]] = [
    *((flow_run, name, None) for name in ("id", "name", "flow_name", "flow_version", "scheduled_start_time")),
    *((flow_run, name, None) for name in ("parent_flow_run_id", "parent_deployment_id", "api_url", "ui_url")),
    (flow_run, "tags", []),
    (flow_run, "parameters", {}),
    (flow_run, "run_count", 0),
    *((task_run, name, None) for name in ("id", "name", "task_name")),
    (task_run, "tags", []),
    (task_run, "parameters", {}),
    (task_run, "run_count", 0),
    *((deployment, name, None) for name in ("id", "flow_run_id", "name", "version")),
    (deployment, "parameters", {}),
]


@pytest.mark.parametrize(
    ("module", "name", "empty"), EMPTY, ids=[f"{module.__name__.split('.')[-1]}.{name}" for module, name, _ in EMPTY]
)
def test_outside_of_runs_values_are_empty(module: ModuleType, name: str, empty: Any) -> None:
    assert getattr(module, name) == empty


@pytest.mark.parametrize("module", [flow_run, task_run, deployment])
def test_the_empty_values_above_are_all_there_are(module: ModuleType) -> None:
    assert sorted(name for owner, name, _ in EMPTY if owner is module) == dir(module) == module.__all__


def test_in_a_run_the_values_are_those_of_the_run(run: FlowRun, in_task: TaskRun) -> None:
    assert flow_run.id == str(run.id)
    assert (flow_run.name, flow_run.flow_name, flow_run.flow_version) == ("happy-otter", "my-flow", "7")
    assert (flow_run.tags, flow_run.run_count, flow_run.parameters) == (["a"], 2, {"x": 1})
    assert flow_run.scheduled_start_time == run.created
    assert task_run.id == str(in_task.id)
    assert (task_run.name, task_run.task_name, task_run.tags) == ("x-0", "x", ["t"])
    assert (task_run.run_count, task_run.parameters) == (3, {"y": 2})
    assert deployment.flow_run_id == str(run.id)
    assert (deployment.id, deployment.name) == (None, None)


def test_an_unknown_attribute_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(
        AttributeError, match=r"flowyard.runtime.task_run has no attribute 'nam'; it has id, tags, name"
    ):
        _ = runtime.task_run.nam


def test_the_modules_can_be_imported_by_path() -> None:
    assert importlib.import_module("flowyard.runtime.flow_run") is runtime.flow_run


@pytest.mark.parametrize(
    ("module", "name", "text", "value"),
    [
        (flow_run, "name", "mocked", "mocked"),
        (flow_run, "run_count", "5", 5),
        (flow_run, "scheduled_start_time", "2024-02-03T04:05:06+00:00", datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)),
        (flow_run, "scheduled_start_time", "2024-02-03", datetime(2024, 2, 3, tzinfo=UTC)),
        (task_run, "task_name", "x", "x"),
        (deployment, "version", "9", "9"),
        (deployment, "made_up", "text", "text"),
    ],
)
def test_the_environment_replaces_a_value_in_its_type(
    module: ModuleType, name: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FLOWYARD__RUNTIME__{module.__name__.split('.')[-1].upper()}__{name.upper()}", text)
    assert getattr(module, name) == value


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [("RUN_COUNT", "many", "cannot be read as int"), ("TAGS", "a", "cannot stand for a list; use monkeypatch")],
)
def test_a_value_of_another_type_is_refused(
    name: str, text: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FLOWYARD__RUNTIME__FLOW_RUN__{name}", text)
    with pytest.raises(ValueError, match=f"FLOWYARD__RUNTIME__FLOW_RUN__{name}='{text}' {complaint}"):
        getattr(flow_run, name.lower())


def test_a_process_started_for_a_run_reads_it(
    run: FlowRun, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.flow_name = ""
    run.deployment_id = new_id()
    control.flow_runs[run.id] = run
    control.flows[run.flow_id] = Flow("stored-name")
    monkeypatch.setenv("FLOWYARD__FLOW_RUN_ID", str(run.id))
    assert flow_run.id == str(run.id)
    assert (flow_run.name, flow_run.flow_name, flow_run.parameters) == ("happy-otter", "stored-name", {"x": "1"})
    assert deployment.id == str(run.deployment_id)


def test_a_deployment_that_is_not_stored_is_named(
    run: FlowRun, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.deployment_id = new_id()
    control.flow_runs[run.id] = run
    monkeypatch.setenv("FLOWYARD__FLOW_RUN_ID", str(run.id))
    with pytest.raises(ObjectNotFound, match=f"no deployment {run.deployment_id}"):
        _ = deployment.name


def test_an_id_that_is_none_is_refused(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYARD__FLOW_RUN_ID", "seven")
    with pytest.raises(ValueError, match="FLOWYARD__FLOW_RUN_ID='seven' is not the id of a flow run"):
        _ = flow_run.name


def test_a_subflow_knows_its_parent(run: FlowRun, in_task: TaskRun, control: FakeControl) -> None:
    parent = FlowRun(new_id(), "parent", deployment_id=new_id())
    caller = TaskRun("key", "0", "sub-0", "sub", flow_run_id=parent.id)
    run.parent_task_run_id = caller.id
    control.flow_runs[parent.id] = parent
    control.task_runs[caller.id] = caller
    assert flow_run.parent_flow_run_id == str(parent.id)
    assert flow_run.parent_deployment_id == str(parent.deployment_id)


def test_with_a_server_a_run_has_addresses(run: FlowRun, in_task: TaskRun) -> None:
    with temporary_settings({FLOWYARD_API_URL: "http://host/api", FLOWYARD_UI_URL: "http://host/"}):
        assert flow_run.api_url == f"http://host/api/flow-runs/flow-run/{run.id}"
        assert flow_run.ui_url == f"http://host/flow-runs/flow-run/{run.id}"
