"""A flow run of another process is cancelled, and resumed from its pause, by the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = {
    "sleeps": """
import time
from flowyard import flow, task

@task
def step(seconds):
    time.sleep(seconds)

@flow(on_cancellation=[lambda flow, run, state: print("hook", state.name, flush=True)])
def main():
    step(0)
    step.submit(60)
    print("under way", flush=True)
    time.sleep(60)

print(main(return_state=True).name, flush=True)
""",
    "awaits": """
import asyncio
from flowyard import flow

@flow
async def main():
    print("under way", flush=True)
    await asyncio.sleep(60)

print(asyncio.run(main(return_state=True)).name, flush=True)
""",
    "nests": """
import time
from flowyard import flow, task

@task
def step():
    print("under way", flush=True)
    time.sleep(60)

@flow(on_cancellation=[lambda flow, run, state: print("inner hook", state.name, flush=True)])
def inner():
    step(return_state=True)

@flow
def main():
    try:
        inner(return_state=True)
    except Exception:
        print("swallowed", flush=True)

print(main(return_state=True).name, flush=True)
""",
    "swallows": """
import time
from flowyard import flow, task

@task
def step():
    print("under way", flush=True)
    time.sleep(60)

@flow(on_cancellation=[lambda flow, run, state: print("hook", state.name, flush=True)])
def main():
    try:
        step()
    except:
        return "done"

print(main(return_state=True).name, flush=True)
""",
    "waits": """
from flowyard import flow

@flow(retries=1, retry_delay_seconds=3600, on_cancellation=[lambda flow, run, state: print("hook", state.name)])
def main():
    print("under way", flush=True)
    raise ValueError("not yet")

print(main(return_state=True).name, flush=True)
""",
    "asks": """
from flowyard import flow, pause_flow_run

@flow
def main():
    print("under way", flush=True)
    return pause_flow_run(wait_for_input=int, timeout=90)

state = main(return_state=True)
print(state.result() if state.is_completed() else state.name, flush=True)
""",
}


@pytest.fixture
def start(home: Path, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start a script and wait until its flow is under way."""
    started: list[subprocess.Popen[str]] = []

    def begin(name: str) -> subprocess.Popen[str]:
        script = tmp_path / f"{name}.py"
        script.write_text(SCRIPTS[name])
        process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "under way\n", process.communicate()[1]
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def run_cli(*command: str, expected_code: int = 0) -> str:
    done = subprocess.run([sys.executable, "-m", "flowyard.cli", *command], capture_output=True, text=True, check=False)
    assert done.returncode == expected_code, done.stdout + done.stderr
    return done.stdout


def newest() -> dict[str, Any]:
    return json.loads(run_cli("flow-run", "ls", "--limit", "1", "--output", "json"))[0]


def wait_until(state_type: str) -> None:
    deadline = time.monotonic() + 90
    while newest()["state"]["type"] != state_type:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("name", ["sleeps", "awaits", "asks"])
def test_a_flow_run_is_cancelled_by_the_command_line(start: Callable[[str], subprocess.Popen[str]], name: str) -> None:
    process = start(name)
    if name == "asks":
        wait_until("PAUSED")
    run_id = newest()["id"]

    assert "is being cancelled" in run_cli("flow-run", "cancel", run_id)
    output, errors = process.communicate(timeout=90)

    assert output.splitlines()[-1] == "Cancelled", errors
    assert ("hook Cancelled" in output) == (name == "sleeps")
    assert process.returncode == 0
    found = json.loads(run_cli("flow-run", "inspect", run_id, "--output", "json"))
    assert found["state"]["type"] == "CANCELLED"
    assert {run["state_name"] for run in found["task_runs"]} <= {"Completed", "Cancelled"}


@pytest.mark.parametrize(("name", "hook"), [("nests", "inner hook Cancelled"), ("swallows", "hook Cancelled")])
def test_what_a_cancelled_flow_called_directly_is_cancelled_too(
    start: Callable[[str], subprocess.Popen[str]], name: str, hook: str
) -> None:
    process = start(name)
    runs = json.loads(run_cli("flow-run", "ls", "--output", "json"))
    root = next(run["id"] for run in runs if run["parent_task_run_id"] is None)

    run_cli("flow-run", "cancel", root)
    output, errors = process.communicate(timeout=90)

    assert output.splitlines() == [hook, "Cancelled"], errors
    assert "Crash" not in errors
    for run in runs:
        found = json.loads(run_cli("flow-run", "inspect", run["id"], "--output", "json"))
        assert found["state"]["type"] == "CANCELLED"
        assert {task_run["state_name"] for task_run in found["task_runs"]} == {"Cancelled"}


def test_a_flow_that_waits_to_be_retried_ends_when_it_is_cancelled(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = start("waits")
    wait_until("SCHEDULED")

    assert "was cancelled" in run_cli("flow-run", "cancel", newest()["id"])

    assert process.communicate(timeout=90)[0] == "hook Cancelled\nCancelled\n"


def test_what_dies_while_it_is_cancelled_is_cancelled(start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start("sleeps")
    run_id = newest()["id"]
    process.send_signal(signal.SIGSTOP)
    run_cli("flow-run", "cancel", run_id)
    process.kill()
    process.wait()

    found = json.loads(run_cli("flow-run", "inspect", run_id, "--output", "json"))
    assert found["state"]["type"] == "CANCELLED"


def test_a_run_that_has_ended_is_not_cancelled(start: Callable[[str], subprocess.Popen[str]]) -> None:
    process = start("sleeps")
    run_id = newest()["id"]
    run_cli("flow-run", "cancel", run_id)
    process.communicate(timeout=90)
    done = run_cli("flow-run", "cancel", run_id, expected_code=1)
    assert "unable to be cancelled" in done


def test_a_paused_run_goes_on_with_what_the_command_line_gives_it(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    process = start("asks")
    wait_until("PAUSED")
    run_id = newest()["id"]

    assert "--input" in run_cli("flow-run", "resume", run_id, expected_code=1)
    assert "goes on" in run_cli("flow-run", "resume", run_id, "--input", "value=42")
    assert process.communicate(timeout=90)[0] == "42\n"
