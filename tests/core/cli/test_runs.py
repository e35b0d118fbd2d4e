from __future__ import annotations

import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowyard import flow, task
from flowyard.cli.output import when
from flowyard.cli.records import plain
from flowyard.ports import Backend, open_backend
from flowyard.schemas.events import LogEmitted, TaskRunCreated, TaskRunEntered
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.settings import get_settings_from_env

START = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


@pytest.fixture
def backend(home: Path) -> Iterator[Backend]:
    """The embedded backend that the commands read, held by this process as by a running flow."""
    opened = open_backend(get_settings_from_env())
    yield opened
    opened.close()


def record_flow_run(
    backend: Backend, *, name: str = "amber-otter", flow: str = "stars", lines: int = 0, tasks: tuple[str, ...] = ()
) -> FlowRun:
    """Record a flow run in state Running, with one completed task run for each name in `tasks`."""
    flow_run = FlowRun(
        flow_id=new_id(),
        name=name,
        parameters={"repo": "a/b", "limit": 3},
        tags=["nightly"],
        state=State(StateType.PENDING),
    )
    lease = backend.control.begin_flow_run(flow, flow_run)
    backend.control.propose_flow_run_state(flow_run.id, State(StateType.RUNNING), lease=lease)
    recorder = backend.journal.recorder(lease)
    for task_name in tasks:
        task_run = TaskRun(
            task_key=f"module.{task_name}",
            dynamic_key="0",
            name=f"{task_name}-0",
            task_name=task_name,
            flow_run_id=flow_run.id,
            task_inputs={"repo": [{"input_type": "parameter", "name": "repo"}]},
        )
        recorder.append(TaskRunCreated(task_run))
        for kind in (StateType.PENDING, StateType.RUNNING, StateType.COMPLETED):
            recorder.append(TaskRunEntered(task_run.id, State(kind)))
        recorder.append(
            LogEmitted(flow_run.id, task_run.id, "flowyard.task_runs", logging.WARNING, "from the task", START)
        )
    for index in range(lines):
        moment = START + timedelta(seconds=index + 1)
        recorder.append(LogEmitted(flow_run.id, None, "flowyard.flow_runs", logging.INFO, f"line {index}", moment))
    backend.journal.flush()
    return flow_run


def finish(backend: Backend, flow_run: FlowRun, kind: StateType = StateType.COMPLETED, **details: Any) -> None:
    backend.control.propose_flow_run_state(flow_run.id, State(kind, **details), force=True)


# --- lists --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["flow", "flow-run", "task-run"])
def test_an_empty_list_says_what_to_do_next_and_is_an_empty_array_in_json(run: Any, command: str) -> None:
    done = run(command, "ls")
    assert done.code == 0
    assert "found: " in done.stdout
    assert "@task" in done.stdout or "@flow" in done.stdout
    assert run(command, "ls", "--output", "json").json() == []


def test_flows_are_listed_newest_first(run: Any, backend: Backend) -> None:
    record_flow_run(backend, flow="first")
    record_flow_run(backend, flow="second")
    assert [flow["name"] for flow in run("flow", "ls", "-o", "json").json()] == ["second", "first"]
    assert [flow["name"] for flow in run("flows", "ls", "--limit", "1", "-o", "json").json()] == ["second"]
    shown = run("flow", "ls").stdout
    assert "first" in shown
    assert "ago" in shown


def test_flow_runs_are_listed_and_filtered(run: Any, backend: Backend) -> None:
    done = record_flow_run(backend, name="done")
    finish(backend, done)
    stopped = record_flow_run(backend, name="stopped", flow="other")
    finish(backend, stopped, StateType.CANCELLED)
    failed = record_flow_run(backend, name="failed")
    finish(backend, failed, StateType.FAILED, message="no luck")

    def names(*options: str) -> list[str]:
        return [flow_run["name"] for flow_run in run("flow-run", "ls", "-o", "json", *options).json()]

    assert names() == ["failed", "stopped", "done"]
    assert names("--limit", "2") == ["failed", "stopped"]
    assert names("--flow-name", "other") == ["stopped"]
    assert names("--state", "completed", "--state", "Failed") == ["failed", "done"]
    assert names("--state-type", "cancelled") == ["stopped"]
    shown = run("flow-runs", "ls").stdout
    for text in (str(done.id), "stars", "stopped", "Completed", "Cancelled", "Failed", "ago"):
        assert text in shown
    assert "that match" in run("flow-run", "ls", "--state", "Paused").stdout
    bad = run("flow-run", "ls", "--state-type", "DONE")
    assert bad.code == 1
    assert "Invalid state type 'DONE'. Valid state types are: SCHEDULED, PENDING" in bad.stdout


def test_task_runs_are_listed_and_filtered(run: Any, backend: Backend) -> None:
    first = record_flow_run(backend, tasks=("get", "count"))
    record_flow_run(backend, tasks=("put",))

    def names(*options: str) -> list[str]:
        return sorted(task_run["name"] for task_run in run("task-run", "ls", "-o", "json", *options).json())

    assert names() == ["count-0", "get-0", "put-0"]
    assert names("--task-run-name", "put-0") == ["put-0"]
    assert names("--flow-run", str(first.id)) == ["count-0", "get-0"]
    assert names("--state", "COMPLETED", "--limit", "2") != []
    assert len(names("--limit", "2")) == 2
    assert names("--state-type", "failed") == []
    shown = run("task-runs", "ls").stdout
    for text in ("put-0", "get", "Completed", "ago"):
        assert text in shown
    assert "that match" in run("task-run", "ls", "--state", "Paused").stdout
    assert run("task-run", "ls", "--state-type", "DONE").code == 2


def test_a_table_fits_the_terminal_and_loses_nothing(
    run: Any, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "a-name-" + "x" * 120 + "-that-ends"
    flow_run = record_flow_run(backend, name=name)
    monkeypatch.setenv("COLUMNS", "80")
    shown = run("flow-run", "ls").stdout
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert str(flow_run.id) in shown
    header = next(line for line in shown.splitlines() if "Name" in line)
    start, end = header.index("Name"), header.index("State")
    assert name in "".join(line[start:end].strip() for line in shown.splitlines())
    monkeypatch.setenv("FLOWYARD_CLI_WRAP_LINES", "false")
    assert name in run("flow-run", "ls").stdout


def test_brackets_in_names_are_text_and_not_markup(run: Any, backend: Backend) -> None:
    record_flow_run(backend, name="[red]x[/y]")
    assert "[red]x[/y]" in run("flow-run", "ls").stdout


# --- one run ------------------------------------------------------------------------------------------


def test_a_flow_run_is_shown_with_states_and_progress(run: Any, backend: Backend) -> None:
    flow_run = record_flow_run(backend, tasks=("get", "get", "count"))
    finish(backend, flow_run, StateType.FAILED, message="no luck")
    shown = run("flow-run", "inspect", str(flow_run.id)).stdout
    for text in (
        "Flow run 'amber-otter'",
        str(flow_run.id),
        "stars",
        "nightly",
        "Failed('no luck')",
        "get: 2 Completed",
    ):
        assert text in shown
    record = run("flow-run", "inspect", str(flow_run.id), "-o", "json").json()
    assert record["id"] == str(flow_run.id)
    assert record["flow_name"] == "stars"
    assert record["parameters"] == {"repo": "a/b", "limit": 3}
    assert record["state"]["message"] == "no luck"
    assert [state["type"] for state in record["states"]] == ["PENDING", "RUNNING", "FAILED"]
    assert record["task_runs"] == [
        {"task_name": "count", "state_name": "Completed", "count": 1},
        {"task_name": "get", "state_name": "Completed", "count": 2},
    ]
    assert datetime.fromisoformat(record["start_time"]).tzinfo is not None


def test_a_task_run_is_shown_with_states_and_inputs(run: Any, backend: Backend) -> None:
    flow_run = record_flow_run(backend, tasks=("get",))
    [task_run] = run("task-run", "ls", "-o", "json").json()
    record = run("task-run", "inspect", task_run["id"], "-o", "json").json()
    assert record["flow_run_id"] == str(flow_run.id)
    assert record["task_inputs"] == {"repo": [{"input_type": "parameter", "name": "repo"}]}
    assert [state["type"] for state in record["states"]] == ["PENDING", "RUNNING", "COMPLETED"]
    shown = run("task-run", "inspect", task_run["id"]).stdout
    for text in ("Task run 'get-0'", "module.get", "Completed()", "repo"):
        assert text in shown


def test_a_task_run_says_what_its_value_is_and_where_it_is_kept(run: Any, home: Path) -> None:
    @task(persist_result=True)
    def squares() -> list[int]:
        return [number * number for number in range(9)]

    @task(persist_result=True)
    def answer() -> None: ...

    @flow
    def kept() -> None:
        squares()
        answer()

    kept()
    listed = {record["task_name"]: record["id"] for record in run("task-run", "ls", "-o", "json").json()}
    shown = run("task-run", "inspect", listed["squares"]).stdout
    assert re.search(r"Result: +list, [0-9]+ bytes, kept by pickle under runs/", shown)
    assert re.search(r"Result: +None\n", run("task-run", "inspect", listed["answer"]).stdout)


def test_a_deleted_flow_run_is_gone_with_its_records(run: Any, backend: Backend) -> None:
    flow_run = record_flow_run(backend, tasks=("get",), lines=1)
    finish(backend, flow_run)
    assert run("flow-run", "delete", str(flow_run.id)).stdout == f"Successfully deleted flow run '{flow_run.id}'.\n"
    assert run("flow-run", "ls", "-o", "json").json() == []
    assert run("task-run", "ls", "-o", "json").json() == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("flow-run", "inspect"),
        ("flow-run", "delete"),
        ("flow-run", "logs"),
        ("task-run", "inspect"),
        ("task-run", "logs"),
    ],
    ids=" ".join,
)
def test_a_run_that_does_not_exist_is_one_line_and_exit_code_1(run: Any, arguments: tuple[str, str]) -> None:
    unknown = str(UUID(int=1))
    done = run(*arguments, unknown)
    assert done.code == 1
    assert f"'{unknown}' not found!" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert run(*arguments, "not-an-id").code == 2


# --- logs ---------------------------------------------------------------------------------------------


def messages(text: str) -> list[str]:
    return [line.partition(" - ")[2] for line in text.splitlines()]


def test_logs_read_as_on_the_console(run: Any, backend: Backend) -> None:
    flow_run = record_flow_run(backend, lines=1, tasks=("get",))
    stamp = START.astimezone().strftime("%Y-%m-%d %H:%M:%S.678")
    later = (START + timedelta(seconds=1)).astimezone().strftime("%Y-%m-%d %H:%M:%S.678")
    assert run("flow-run", "logs", str(flow_run.id)).stdout == (
        f"{stamp} | WARNING | Task run 'get-0' - from the task\n{later} | INFO    | Flow run 'amber-otter' - line 0\n"
    )
    [task_run] = run("task-run", "ls", "-o", "json").json()
    assert run("task-run", "logs", task_run["id"]).stdout == (f"{stamp} | WARNING | Task run 'get-0' - from the task\n")


ALL = [f"line {index}" for index in range(450)]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ALL),
        (["--reverse"], ALL[::-1]),
        (["--head"], ALL[:20]),
        (["--tail"], ALL[-20:]),
        (["--tail", "--reverse"], ALL[:-21:-1]),
        (["--head", "-n", "230"], ALL[:230]),
        (["-t", "-n", "3"], ALL[-3:]),
        (["-n", "5"], ALL[:5]),
        (["-n", "5", "-r"], ALL[:-6:-1]),
        (["-h", "-n", "1000"], ALL),
    ],
    ids=" ".join,
)
def test_logs_can_be_cut_at_both_ends(run: Any, backend: Backend, options: list[str], expected: list[str]) -> None:
    flow_run = record_flow_run(backend, lines=450)
    assert messages(run("flow-run", "logs", str(flow_run.id), *options).stdout) == expected


def test_logs_cannot_be_cut_at_both_ends_at_once(run: Any, backend: Backend) -> None:
    flow_run = record_flow_run(backend)
    done = run("flow-run", "logs", str(flow_run.id), "--head", "--tail")
    assert done.code == 1
    assert "not both" in done.stdout


def test_logs_are_json_on_demand_and_none_is_said_so(run: Any, backend: Backend) -> None:
    flow_run = record_flow_run(backend, lines=2)
    lines = run("flow-run", "logs", str(flow_run.id), "-o", "json").json()
    assert [line["message"] for line in lines] == ["line 0", "line 1"]
    assert lines[0]["level"] == logging.INFO
    silent = record_flow_run(backend)
    assert "get_run_logger()" in run("flow-run", "logs", str(silent.id)).stdout
    assert run("flow-run", "logs", str(silent.id), "-o", "json").json() == []


# --- what the look itself does ------------------------------------------------------------------------


def test_a_run_whose_process_died_is_shown_as_crashed(run: Any, home: Path) -> None:
    script = (
        "import os\n"
        "from flowyard.ports import open_backend\n"
        "from flowyard.schemas.ids import new_id\n"
        "from flowyard.schemas.runs import FlowRun\n"
        "from flowyard.schemas.states import State\n"
        "from flowyard.settings import get_current_settings\n"
        "backend = open_backend(get_current_settings())\n"
        "flow_run = FlowRun(flow_id=new_id(), name='doomed', state=State('PENDING'))\n"
        "lease = backend.control.begin_flow_run('f', flow_run)\n"
        "backend.control.propose_flow_run_state(flow_run.id, State('RUNNING'), lease=lease)\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    [flow_run] = run("flow-run", "ls", "-o", "json").json()
    assert (flow_run["name"], flow_run["state_type"]) == ("doomed", "CRASHED")


def test_a_run_that_is_going_on_is_left_alone(run: Any, backend: Backend) -> None:
    flow_run = record_flow_run(backend)
    done = subprocess.run(
        [sys.executable, "-m", "flowyard.cli", "flow-run", "inspect", str(flow_run.id), "-o", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"state_type": "RUNNING"' in done.stdout


def test_a_server_that_is_not_there_is_named_with_what_to_do(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYARD_API_URL", "http://127.0.0.1:9/api")
    done = run("flow-run", "ls", "-o", "json")
    assert (done.code, done.stdout) == (1, "")
    assert "http://127.0.0.1:9/api" in done.stderr
    assert "flowyard server start" in done.stderr


def test_what_json_does_not_know_becomes_text() -> None:
    value = {"a": float("nan"), 1: {START}, "path": Path("/x"), "fine": [1, 2.5, None, True]}
    assert plain(value) == {"a": "nan", "1": [str(START)], "path": "/x", "fine": [1, 2.5, None, True]}


def test_a_scheduled_run_is_due_in_the_future() -> None:
    due = State(StateType.SCHEDULED, state_details=StateDetails(scheduled_time=START))
    assert when(due, START - timedelta(days=2, hours=1)) == "in 2 d"
    assert when(State(StateType.RUNNING, timestamp=START), START + timedelta(seconds=61)) == "1 min ago"
    assert when(State(StateType.RUNNING, timestamp=START), START) == "0 s ago"
    assert when(None) == ""
