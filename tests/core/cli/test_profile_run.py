"""`flowyard flow-run profile`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowyard.cli import profile_run
from flowyard.ports import Backend, open_backend
from flowyard.schemas.events import TaskRunCreated, TaskRunEntered, TaskRunMeasured
from flowyard.schemas.ids import new_id
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.runs import FlowRun, TaskRun, utcnow
from flowyard.schemas.states import State, StateType
from flowyard.settings import get_settings_from_env

S = StateType


@pytest.fixture
def backend(home: Path) -> Iterator[Backend]:
    opened = open_backend(get_settings_from_env())
    yield opened
    opened.close()


def record_flow_run(backend: Backend, *, calls: int = 3) -> UUID:
    """Record a flow run of `calls` + 1 seconds: tasks of one second in a chain, on two workers by turns."""
    start = utcnow()

    def at(second: float, kind: StateType) -> State[Any]:
        return State(kind, timestamp=start + timedelta(seconds=second))

    flow_run = FlowRun(flow_id=new_id(), name="amber-otter", state=at(0, S.PENDING))
    lease = backend.control.begin_flow_run("stars", flow_run)
    backend.control.propose_flow_run_state(flow_run.id, at(0, S.RUNNING), lease=lease)
    recorder = backend.journal.recorder(lease)
    before: TaskRun | None = None
    for number in range(calls):
        task_run = TaskRun("work", str(number), f"work-{number}", "work", flow_run.id, created=start)
        if before is not None:
            task_run.task_inputs = {"x": [{"input_type": "task_run", "id": str(before.id)}]}
        recorder.append(TaskRunCreated(task_run))
        recorder.append(TaskRunEntered(task_run.id, at(0, S.PENDING)))
        recorder.append(TaskRunEntered(task_run.id, at(number, S.RUNNING)))
        metrics = TaskMetrics(f"worker-{number % 2 + 1}", worker_seconds=1.0, load_seconds=0.1, run_seconds=0.8)
        recorder.append(TaskRunMeasured(task_run.id, metrics))
        recorder.append(TaskRunEntered(task_run.id, at(number + 1, S.COMPLETED)))
        before = task_run
    backend.journal.flush()
    backend.control.propose_flow_run_state(flow_run.id, at(calls + 1, S.COMPLETED), lease=lease)
    return flow_run.id


def test_a_profile_is_shown_in_parts_that_fit_the_terminal(run: Any, backend: Backend) -> None:
    done = run("flow-run", "profile", str(record_flow_run(backend)))
    assert done.code == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "Flow run 'amber-otter' of stars: Completed, 4.0 s, 3 task runs"
    assert "Critical path: 3.0 s in 3 task runs (75%)" in lines
    assert "  besides, 0 ready but not running (0%), 1.0 s in the flow's own code (25%)" in lines
    assert "Workers: 2 slots, 38% busy; no task ran for 1.0 s" in lines
    assert "Functions of tasks: 2.4 s, all calls added up" in lines
    assert "Overhead of workers: 300.0 ms for loading and 300.0 ms for the rest, 200.0 ms a call" in lines
    assert any(line.split()[:3] == ["2", "3.0", "s"] and "4.0 s in fact" in line for line in lines)
    assert any(line.split()[:2] == ["work", "3"] for line in lines)
    bars = next(line for line in lines if line.startswith("worker-1 "))
    assert bars.count("█") == 14, "two of four seconds, and a bit at their ends"
    assert max(map(len, lines)) <= 100


def test_a_profile_is_json(run: Any, backend: Backend) -> None:
    flow_run_id = record_flow_run(backend)
    record = run("flow-run", "profile", str(flow_run_id), "--output", "json", "--workers", "3", "--workers", "1").json()
    assert record["flow_run_id"] == str(flow_run_id)
    assert record["flow_name"] == "stars"
    assert record["seconds"] == 4.0
    assert [step["name"] for step in record["critical_path"]["steps"]] == ["work-0", "work-1", "work-2"]
    assert [(one["workers"], one["seconds"]) for one in record["predictions"]] == [(1, 3.0), (2, 3.0), (3, 3.0)]
    assert record["overhead"]["seconds_per_call"] == pytest.approx(0.2)  # pyright: ignore[reportUnknownMemberType]


def test_what_was_measured_is_among_the_facts_of_a_task_run(run: Any, backend: Backend) -> None:
    record_flow_run(backend, calls=1)
    (task_run,) = run("task-run", "ls", "--output", "json").json()
    measured = {"worker": "worker-1", "worker_seconds": 1.0, "load_seconds": 0.1, "run_seconds": 0.8}
    assert task_run["metrics"] == measured


def test_all_pages_of_a_large_run_are_read(run: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile_run, "_PAGE", 2)
    flow_run_id = record_flow_run(backend, calls=5)
    record = run("flow-run", "profile", str(flow_run_id), "--output", "json").json()
    assert record["task_runs"] == 5
    assert record["critical_path"]["task_seconds"] == 5.0


def test_a_trace_is_written_beside_the_profile(run: Any, backend: Backend, tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    flow_run_id = record_flow_run(backend)
    done = run("flow-run", "profile", str(flow_run_id), "--trace", str(file))
    assert f"Wrote {file}: open it in https://ui.perfetto.dev" in done.stdout.replace("\n", "")
    trace = json.loads(file.read_text())
    assert trace["otherData"]["flow_run_id"] == str(flow_run_id)
    assert trace["displayTimeUnit"] == "ms"
    assert {event["name"] for event in trace["traceEvents"] if event["ph"] == "X"} == {
        "amber-otter",
        "work-0",
        "work-1",
        "work-2",
    }


def test_a_trace_that_cannot_be_written_says_why(run: Any, backend: Backend, tmp_path: Path) -> None:
    done = run("flow-run", "profile", str(record_flow_run(backend)), "--trace", str(tmp_path / "no" / "trace.json"))
    assert done.code == 1
    assert "No such file or directory" in done.stdout


def test_a_run_that_has_not_started_has_no_profile(run: Any, backend: Backend) -> None:
    flow_run = FlowRun(flow_id=new_id(), name="amber-otter", state=State(S.PENDING))
    backend.control.begin_flow_run("stars", flow_run)
    done = run("flow-run", "profile", str(flow_run.id))
    assert done.code == 1
    assert "'amber-otter' has not started" in done.stdout


def test_a_running_flow_run_has_a_profile_up_to_now(run: Any, backend: Backend) -> None:
    flow_run = FlowRun(flow_id=new_id(), name="amber-otter", state=State(S.PENDING))
    lease = backend.control.begin_flow_run("stars", flow_run)
    backend.control.propose_flow_run_state(flow_run.id, State(S.RUNNING), lease=lease)
    done = run("flow-run", "profile", str(flow_run.id))
    assert done.code == 0
    assert "No task has run." in done.stdout


def test_a_terminal_without_blocks_gets_plain_bars(backend: Backend) -> None:
    flow_run_id = record_flow_run(backend)
    backend.close()
    command = [sys.executable, "-m", "flowyard.cli", "flow-run", "profile", str(flow_run_id)]
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    line = next(line for line in done.stdout.decode("ascii").splitlines() if line.startswith("worker-1"))
    assert "@@@@" in line
