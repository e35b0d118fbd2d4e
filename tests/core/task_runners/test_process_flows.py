"""Flows on the process pool whose workers die, and whose values cannot travel."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowyard import flow, get_run_logger, task
from flowyard.exceptions import UnpicklableValue, WorkerLost
from flowyard.process.backends import PROCESS
from flowyard.schemas.filters import LogFilter
from flowyard.schemas.states import State
from flowyard.task_runners.process import ProcessPoolTaskRunner
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import await_arrival, identity


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@pytest.fixture
def runner() -> ProcessPoolTaskRunner:
    return ProcessPoolTaskRunner(max_workers=2)


def die_once(folder: str, name: str) -> str:
    """End the worker when this is called for the first time."""
    trace = Path(folder, name)
    if not trace.exists():
        trace.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def recorded_states(run_id: UUID) -> list[str]:
    return [state.name for state in PROCESS.backend().control.read_task_run_states(run_id)]


def test_a_killed_worker_crashes_its_task_and_no_other(runner: ProcessPoolTaskRunner, tmp_path: Path):
    dying, same = task(die_once), task(identity)

    @flow(task_runner=runner)
    def calls() -> list[Any]:
        others = same.map(list(range(40)))
        lost = dying.submit(str(tmp_path), "a")
        return [lost.wait(), lost.task_run, [future.result() for future in others], same.submit("after").result()]

    state, run, values, after = calls()
    assert values == list(range(40))
    assert after == "after"
    assert state.name == "Crashed"
    assert "signal 9" in state.message
    assert isinstance(state.result(raise_on_failure=False), WorkerLost)
    assert recorded_states(run.id) == ["Pending", "Running", "Crashed"]
    assert run.run_count == 1


def test_crash_retries_run_a_lost_task_again(runner: ProcessPoolTaskRunner, tmp_path: Path):
    dying = task(crash_retries=1)(die_once)

    @flow(task_runner=runner)
    def calls() -> tuple[str, UUID]:
        future = dying.submit(str(tmp_path), "a")
        return future.result(), future.task_run.id

    value, run_id = calls()
    assert value == "a"
    assert recorded_states(run_id) == ["Pending", "Running", "Crashed", "Running", "Completed"]


def test_crash_retries_are_bounded_and_retries_are_not_used_for_them(runner: ProcessPoolTaskRunner, tmp_path: Path):
    @task(retries=5, crash_retries=1)
    def hopeless(folder: str) -> None:
        with Path(folder, "attempts").open("a") as file:
            file.write("x")
        os._exit(3)

    @flow(task_runner=runner)
    def calls() -> tuple[str, str | None]:
        state: Any = hopeless.submit(str(tmp_path)).wait()
        return state.name, state.message

    name, message = calls()
    assert name == "Crashed"
    assert "exited with code 3" in (message or "")
    assert (tmp_path / "attempts").read_text() == "xx"


def hang(folder: str, how: str) -> str:
    with Path(folder, "pids").open("a") as file:
        file.write(f"{os.getpid()}\n")
    if how == "holding the GIL":
        sum(range(10**12))
    time.sleep(300)
    return "never"


@pytest.mark.parametrize("how", ["asleep", "holding the GIL"])
def test_a_task_that_cannot_be_interrupted_is_killed_at_its_timeout(
    runner: ProcessPoolTaskRunner, tmp_path: Path, how: str
):
    hanging = task(timeout_seconds=0.2, retries=1)(hang)
    same = task(identity)

    @flow(task_runner=runner)
    def calls() -> tuple[Any, ...]:
        future = hanging.submit(str(tmp_path), how)
        state: Any = future.wait()
        return state.type.value, state.name, future.task_run.run_count, same.submit("after").result()

    assert calls() == ("FAILED", "TimedOut", 2, "after")
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        await_death(pid)


def await_death(pid: int) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.005)


def test_a_flow_that_fails_takes_its_running_tasks_along(runner: ProcessPoolTaskRunner, tmp_path: Path):
    @task
    def stay(folder: str) -> None:
        Path(folder, "pid").write_text(str(os.getpid()))
        Path(folder, "here").touch()
        await_arrival(folder, "nobody")

    @flow(task_runner=runner)
    def calls() -> None:
        stay.submit(str(tmp_path))
        await_arrival(str(tmp_path), "here")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calls()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_argument_that_cannot_travel_fails_its_task_by_name(runner: ProcessPoolTaskRunner):
    same = task(identity)

    @flow(task_runner=runner)
    def calls() -> list[State[Any]]:
        futures = [same.submit(1), same.submit(threading.Lock()), same.submit(2)]
        return [future.wait() for future in futures]

    states = calls(return_state=True).result(raise_on_failure=False)
    assert [state.name for state in states] == ["Completed", "Failed", "Completed"]
    error = states[1].result(raise_on_failure=False)
    assert isinstance(error, UnpicklableValue)
    assert error.what == "argument 'x' of task 'identity'"


def test_a_direct_call_raises_what_cannot_travel(runner: ProcessPoolTaskRunner):
    @task
    def make_lock() -> Any:
        return threading.Lock()

    @flow(task_runner=runner)
    def calls() -> None:
        make_lock()

    with pytest.raises(UnpicklableValue, match="result of task 'make_lock'"):
        calls()
    (run,) = [run for run in PROCESS.backend().control.read_task_runs() if run.task_name == "make_lock"]
    assert recorded_states(run.id) == ["Pending", "Running", "Failed"]


def test_log_lines_of_workers_are_recorded_once_and_in_order(runner: ProcessPoolTaskRunner):
    @task
    def talk(lines: int) -> None:
        for line in range(lines):
            get_run_logger().info("line %s", line)

    @flow(task_runner=runner)
    def calls() -> UUID:
        future = talk.submit(1500)
        future.wait()
        return future.task_run.id

    logs = PROCESS.backend().control.read_logs(LogFilter(task_run_id=calls()), limit=5000)
    texts = [log.message for log in logs if log.message.startswith("line ")]
    assert texts == [f"line {line}" for line in range(1500)]


def test_workers_open_no_database(runner: ProcessPoolTaskRunner):
    @task
    def loaded_modules() -> list[str]:
        import sys

        return [name for name in ("sqlalchemy", "sqlite3", "alembic", "pytest") if name in sys.modules]

    @flow(task_runner=runner)
    def calls() -> list[str]:
        return loaded_modules.submit().result()

    assert calls() == []
