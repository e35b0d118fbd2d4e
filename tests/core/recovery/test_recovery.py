"""Retrying, resuming and forking flow runs, in the process that made them and in others."""

# What a test's flow returns is known by the test.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportFunctionMemberAccess=false, reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportUnknownParameterType=false, reportCallIssue=false
from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flowyard import flow, task
from flowyard.exceptions import CannotContinue, ObjectNotFound
from flowyard.recovery import fork_flow_run, resume_flow_run, retry_flow_run
from flowyard.schemas.ids import new_id
from flowyard.settings import get_current_settings
from flowyard.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner, SequentialTaskRunner

calls: list[Any] = []


@pytest.fixture(autouse=True)
def _no_calls(records: Any) -> None:
    del records
    calls.clear()


@dataclass
class Trouble:
    """What the flows of these tests fail at."""

    fails_at: int | None = None


trouble = Trouble()


@task(persist_result=True)
def step(number: int) -> int | None:
    calls.append(number)
    if number == trouble.fails_at:
        raise RuntimeError(f"trouble at {number}")
    return None if number == 2 else number * 10


@task(persist_result=True)
def total(values: list[int | None]) -> int:
    calls.append("total")
    return sum(value or 0 for value in values)


@flow
def steps(count: int = 5) -> int:
    return total([step.submit(number) for number in range(count)])


def broken(at: int, **parameters: Any) -> Any:
    """Run `steps` so that it fails, and return its flow run's id."""
    trouble.fails_at = at
    state = steps(return_state=True, **parameters)
    assert state.is_failed()
    trouble.fails_at = None
    calls.clear()
    return state.state_details.flow_run_id


@pytest.mark.parametrize("again", [resume_flow_run, retry_flow_run], ids=["resume", "retry"])
def test_what_completed_is_not_executed_again(records: Any, again: Callable[..., Any]) -> None:
    flow_run_id = broken(at=3)
    state = again(flow_run_id, flow=steps)
    assert state.result() == 80
    assert sorted(map(str, calls)) == ["3", "total"]
    assert state.state_details.flow_run_id == flow_run_id
    assert records.flow_run(flow_run_id).run_count == 2
    assert len(records.all_task_runs(flow_run_id)) == 6


def test_a_run_can_be_resumed_more_than_once() -> None:
    flow_run_id = broken(at=3)
    trouble.fails_at = 4
    # 4 had completed, so it is not asked again; the flow now fails nowhere.
    assert resume_flow_run(flow_run_id, flow=steps).result() == 80
    assert 4 not in calls


@pytest.mark.parametrize("size", [10, 100_000], ids=["in a pack", "in files"])
@pytest.mark.parametrize("harm", ["gone", "cut off"])
def test_what_was_lost_of_the_results_is_made_again(harm: str, size: int, records: Any) -> None:
    trouble.fails_at = 1

    @task(persist_result=True)
    def make(letter: str) -> str:
        calls.append(letter)
        return letter * size

    @flow
    def both() -> int:
        made = make("a") + make("b")
        if trouble.fails_at:
            raise RuntimeError("trouble")
        return len(made)

    failed = both(return_state=True)
    trouble.fails_at = None
    calls.clear()
    run_id = failed.state_details.flow_run_id
    folder = get_current_settings().FLOWYARD_LOCAL_STORAGE_PATH / "runs" / str(run_id)
    last = max(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size >= 20)
    if harm == "gone":
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:-5])

    assert resume_flow_run(run_id, flow=both).result() == 2 * size

    assert calls == (["a", "b"] if harm == "gone" and size == 10 else ["b"])  # a pack has both
    lines = [line for line in records.logs(run_id) if "is executed again: " in line]
    assert len(lines) == len(calls)


def test_a_task_without_persisted_results_is_executed_again() -> None:
    @task
    def fleeting(number: int) -> int:
        calls.append(number)
        return number

    @flow
    def forgets() -> int:
        kept = fleeting(1) + (step(7) or 0)
        if len(calls) < 3:
            raise RuntimeError("first time")
        return kept

    state = forgets(return_state=True)
    assert resume_flow_run(state.state_details.flow_run_id, flow=forgets).result() == 71
    assert calls == [1, 7, 1]


def test_changed_inputs_are_executed_again_and_the_log_says_so(records: Any) -> None:
    values = [1, 5]

    @flow
    def varies() -> int | None:
        found = step(values.pop(0))
        if values:
            raise RuntimeError("once")
        return found

    state = varies(return_state=True)
    assert resume_flow_run(state.state_details.flow_run_id, flow=varies).result() == 50
    assert calls == [1, 5]
    assert any("its inputs are not those of the last attempt" in line for line in records.logs(state))


def test_a_flow_that_calls_in_another_order_executes_nothing_twice() -> None:
    order = [[1, 3, 5, 7], [7, 1, 5, 3]]

    @flow
    def shuffles() -> list[int | None]:
        found = [step(number) for number in order.pop(0)]
        if order:
            raise RuntimeError("once")
        return found

    state = shuffles(return_state=True)
    calls.clear()
    assert resume_flow_run(state.state_details.flow_run_id, flow=shuffles).result() == [70, 10, 50, 30]
    assert calls == []


def test_a_value_is_used_by_one_call_only() -> None:
    counts = [1, 3]

    @flow
    def repeats() -> int:
        for _ in range(counts.pop(0)):
            step(1)
        if counts:
            raise RuntimeError("once")
        return len(calls)

    state = repeats(return_state=True)
    assert resume_flow_run(state.state_details.flow_run_id, flow=repeats).result() == 3


def test_what_a_task_made_is_not_used_from_there_on() -> None:
    flow_run_id = broken(at=3)
    assert resume_flow_run(flow_run_id, from_task="step", flow=steps).result() == 80
    assert sorted(map(str, calls)) == ["0", "1", "2", "3", "4", "total"]


def test_only_failed_uses_what_completed_whatever_its_inputs_are() -> None:
    values = [1, 5]

    @flow
    def varies() -> int | None:
        found = step(values.pop(0))
        if values:
            raise RuntimeError("once")
        return found

    state = varies(return_state=True)
    assert resume_flow_run(state.state_details.flow_run_id, only_failed=True, flow=varies).result() == 10
    assert calls == [1]


def test_subflows_go_on_too(records: Any) -> None:
    @flow
    def child(number: int) -> int | None:
        return step(number)

    @flow
    def parent() -> list[int | None]:
        return [child(1), child(3), step(4)]

    trouble.fails_at = 3
    state = parent(return_state=True)
    trouble.fails_at = None
    calls.clear()
    flow_run_id = state.state_details.flow_run_id
    assert resume_flow_run(flow_run_id, flow=parent).result() == [10, 30, 40]
    assert calls == [3, 4]
    assert len(records.flow_runs("child")) == 2


@pytest.mark.parametrize(
    "runner",
    [SequentialTaskRunner(), ConcurrentTaskRunner(), ProcessPoolTaskRunner(max_workers=1)],
    ids=["sequential", "concurrent", "process"],
)
def test_every_runner_continues(records: Any, tmp_path: Path, runner: Any) -> None:
    @task(persist_result=True)
    def write(number: int, before: int) -> int:
        with Path(tmp_path, "log").open("a") as file:
            file.write(f"{number}\n")
        if number == 2 and not Path(tmp_path, "mended").exists():
            raise RuntimeError("broken")
        return before + number

    @flow(task_runner=runner)
    def chain() -> int:
        before: Any = 0
        for number in range(4):
            before = write.submit(number, before)
        return before.result()

    state = chain(return_state=True)
    assert not state.is_completed()
    Path(tmp_path, "mended").touch()
    assert resume_flow_run(state.state_details.flow_run_id, flow=chain).result() == 6
    assert Path(tmp_path, "log").read_text().split() == ["0", "1", "2", "2", "3"]


def test_an_async_flow_goes_on() -> None:
    @task(persist_result=True)
    async def double(number: int) -> int:
        calls.append(number)
        return number * 2

    @flow
    async def doubles() -> int:
        found = await double(4)
        if len(calls) == 1:
            calls.append("failed")
            raise RuntimeError("once")
        return found

    state = asyncio.run(doubles(return_state=True))
    assert resume_flow_run(state.state_details.flow_run_id, flow=doubles).result() == 8
    assert calls == [4, "failed"]


def test_parameters_that_json_cannot_carry_come_back() -> None:
    seen: list[Any] = []

    @flow(validate_parameters=False)
    def takes(pair: Any, names: Any, plain: Any) -> None:
        seen.append((pair, names, plain))
        if len(seen) == 1:
            raise RuntimeError("once")

    state = takes((1, 2), {"a"}, {"b": [1.5]}, return_state=True)
    resume_flow_run(state.state_details.flow_run_id, flow=takes)
    assert seen[0] == seen[1]
    assert seen[1] == ((1, 2), {"a"}, {"b": [1.5]})


class TestForks:
    def test_a_fork_uses_what_is_not_affected(self, records: Any) -> None:
        source = steps(3, return_state=True).state_details.flow_run_id
        calls.clear()
        state = fork_flow_run(source, parameters={"count": 5}, flow=steps)
        assert state.result() == 80
        assert calls == [3, 4, "total"]
        assert state.state_details.flow_run_id != source
        assert len(records.all_task_runs(source)) == 4

    def test_a_fork_of_a_fork_uses_both(self) -> None:
        source = steps(3, return_state=True).state_details.flow_run_id
        second = fork_flow_run(source, parameters={"count": 5}, flow=steps).state_details.flow_run_id
        calls.clear()
        assert fork_flow_run(second, flow=steps).result() == 80
        assert calls == []

    def test_from_a_task_on_everything_is_executed(self) -> None:
        source = steps(3, return_state=True).state_details.flow_run_id
        calls.clear()
        assert fork_flow_run(source, from_task="total", flow=steps).result() == 10
        assert calls == ["total"]


class TestMistakes:
    def test_a_run_that_completed_is_not_resumed(self) -> None:
        flow_run_id = steps(return_state=True).state_details.flow_run_id
        with pytest.raises(
            CannotContinue, match=f"it has completed; start a new run that uses its work: fork {flow_run_id}"
        ):
            resume_flow_run(flow_run_id, flow=steps)

    def test_an_unknown_run_task_or_parameter_is_named(self) -> None:
        with pytest.raises(ObjectNotFound):
            resume_flow_run(new_id(), flow=steps)
        flow_run_id = broken(at=1)
        with pytest.raises(CannotContinue, match="it has no task 'stop'; it has step, total"):
            resume_flow_run(flow_run_id, from_task="stop", flow=steps)
        with pytest.raises(CannotContinue, match="no parameter 'cuont'; it has count"):
            fork_flow_run(flow_run_id, parameters={"cuont": 1}, flow=steps)
        assert calls == []

    def test_the_wrong_flow_is_refused(self) -> None:
        @flow
        def another() -> None: ...

        with pytest.raises(CannotContinue, match="it is a run of flow 'steps', not of 'another'"):
            resume_flow_run(broken(at=1), flow=another)


SCRIPT = """
import os, signal
from pathlib import Path
from flowyard import flow, task

@task(persist_result=True)
def step(number):
    with open("log", "a") as file:
        file.write(f"{number}\\n")
    if number == 3 and not Path("mended").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return number

@flow
def main(pair=(1, 2)):
    assert pair == (1, 2)
    return sum(step(number) for number in range(6))

if __name__ == "__main__":
    print("main block")
    main()
"""


def test_a_killed_script_is_resumed_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {**os.environ, "FLOWYARD_HOME": str(tmp_path / "home"), "FLOWYARD_LOGGING_LEVEL": "ERROR"}

    def run(*command: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )

    assert run("script.py").returncode == -9
    listed = json.loads(run("-m", "flowyard.cli", "flow-run", "ls", "-o", "json").stdout)
    assert listed[0]["state"]["name"] == "Crashed"
    (tmp_path / "mended").touch()
    # From anywhere: the run knows its folder.
    done = run("-m", "flowyard.cli", "flow-run", "resume", listed[0]["id"], "-o", "json", cwd=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["state"]["type"] == "COMPLETED"
    assert "main block" not in done.stdout
    assert (tmp_path / "log").read_text().split() == ["0", "1", "2", "3", "3", "4", "5"]
    again = run("-m", "flowyard.cli", "flow-run", "resume", listed[0]["id"])
    assert again.returncode == 1
    assert "it has completed" in again.stdout
