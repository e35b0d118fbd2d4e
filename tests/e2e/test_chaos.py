"""Processes that die, processes that look dead, and many processes at once: what was recorded is there and makes sense.

    uv run --group dev pytest -m slow tests/e2e/test_chaos.py           all trials
    FLOWYARD_CHAOS_SEED=17 FLOWYARD_CHAOS_TRIALS=1 uv run ...           one trial again

A trial starts `workloads/chaos.py`, kills it with SIGKILL at a moment that its seed decides (after so many lines of the
flow's tasks, and up to 30 ms later), and verifies that this was between the first and the last task.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import runpy
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowyard.client import get_client
from flowyard.settings import FLOWYARD_HOME, temporary_settings

if sys.platform == "win32":
    pytest.skip("there is no SIGKILL", allow_module_level=True)

WORKLOADS = Path(__file__).parent / "workloads"
RUNNERS = ("sequential", "concurrent", "process")
FIRST_SEED = int(os.environ.get("FLOWYARD_CHAOS_SEED", "1"))
TRIALS = int(os.environ.get("FLOWYARD_CHAOS_TRIALS", "102"))
LINES = 50
"""The `begin` and `end` lines of one run of the flow; the last two are those of its last task."""
RESULT = "5550"
problems_of: Callable[[Path], list[str]] = runpy.run_path(str(WORKLOADS / "audit.py"))["problems_of"]


def start(*command: str | Path, **options: Any) -> subprocess.Popen[str]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([sys.executable, *map(str, command)], text=True, **options)


def flowyard(*words: str) -> Any:
    done = subprocess.run([sys.executable, "-m", "flowyard.cli", *words, "-o", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def query(home: Path, statement: str, *values: Any) -> list[Any]:
    with contextlib.closing(sqlite3.connect(home / "flowyard.db", timeout=90)) as connection:
        return connection.execute(statement, values).fetchall()


def exists(pid: int) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z"  # an orphan whose new parent does not care


def wait_until(is_so: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(0.01)


# --- kill -9 -------------------------------------------------------------------------------------------------------


class Killed:
    """What a process said before it was killed in the middle of the flow."""

    def __init__(self, seed: int, runner: str, folder: Path) -> None:
        for attempt in range(20):
            self.home = folder / f"attempt-{attempt}"
            self.errors = folder / f"errors-{attempt}"
            # Where the flow was faster than the killer, the trial is made again with an earlier moment.
            dice = random.Random(f"{seed}/{attempt}")
            self.after_lines = dice.randint(1, LINES - 4 - attempt)
            self.delay = dice.uniform(0.0, 0.030)
            self.interval = dice.choice(["0.05", "0.005", "0"])
            self.lines = self._kill(runner)
            if self._is_in_between():
                return
        pytest.fail(f"seed {seed}: no attempt hit between the first and the last task")

    def _kill(self, runner: str) -> list[str]:
        environment = {
            **os.environ,
            "FLOWYARD_HOME": str(self.home),
            "FLOWYARD_JOURNAL_COMMIT_INTERVAL_SECONDS": self.interval,
        }
        with (
            self.errors.open("w") as errors,
            start(WORKLOADS / "chaos.py", runner, env=environment, stderr=errors) as process,
        ):
            assert process.stdout is not None
            seen = 0
            lines: list[str] = []
            for line in process.stdout:
                lines.append(line)
                seen += line.startswith(("begin ", "end "))
                if seen >= self.after_lines:
                    break
            time.sleep(self.delay)
            process.send_signal(signal.SIGKILL)
            lines += process.stdout
        assert seen >= self.after_lines, self.errors.read_text()
        return lines

    def _is_in_between(self) -> bool:
        marks = [line.split()[:2] for line in self.lines if line.startswith(("begin ", "end "))]
        return ["begin", "first"] in marks and ["end", "last"] not in marks

    @property
    def kept(self) -> list[list[str]]:
        return [line.split()[1:] for line in self.lines if line.startswith("kept ")]

    @property
    def pids(self) -> set[int]:
        return {int(line.split()[2]) for line in self.lines if line.startswith(("begin ", "end "))}


def check_a_kill(seed: int, runner: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Kill a flow, look at what is left, run it again; return the verdict."""
    killed = Killed(seed, runner, folder)
    home = killed.home
    monkeypatch.setenv("FLOWYARD_HOME", str(home))
    # The worker processes do not outlive the one that they work for.
    wait_until(lambda: not any(map(exists, killed.pids)), f"the processes {killed.pids} are gone")

    # Nobody has looked yet: every record that was committed is readable and contradicts no other.
    assert problems_of(home / "flowyard.db") == []
    stored = {
        UUID(bytes=row[0]) for row in query(home, "SELECT id FROM flow_run_state UNION SELECT id FROM task_run_state")
    }
    for kind, state_id, *_ in killed.kept:
        assert UUID(state_id) in stored, f"the {kind} {state_id} was said to be on disk, and is not"
    before = dict(query(home, "SELECT id, state_type FROM task_run"))
    runs_before = dict(query(home, "SELECT id, state_type FROM flow_run"))
    unfinished = {key for key, state in before.items() if state not in ("COMPLETED", "FAILED")}
    assert runs_before, "the run itself was on disk before its first task began"

    # The next look finds the run Crashed, whoever looks, and with it what it had not finished.
    if seed % 2:
        runs = {run["id"]: run["state_type"] for run in flowyard("flow-run", "ls", "--limit", "200")}
    else:
        with temporary_settings({FLOWYARD_HOME: home}), get_client(sync_client=True) as client:
            runs = {str(run.id): str(run.state_type.value) for run in client.read_flow_runs() if run.state_type}
            parent = max(client.read_flow_runs(), key=lambda run: run.parent_task_run_id is None)
            assert parent.state is not None
            assert "is gone" in str(parent.state.message)
    for key, state in runs_before.items():
        expected = state if state in ("COMPLETED", "FAILED") else "CRASHED"
        assert runs[str(UUID(bytes=key))] == expected
    assert "CRASHED" in runs.values()
    with temporary_settings({FLOWYARD_HOME: home}), get_client(sync_client=True) as client:
        after = {run.id.bytes: run for run in client.read_task_runs(limit=200)}
        assert set(after) == set(before)
        for key, run in after.items():
            assert run.state_type is not None
            assert run.state_type.value == ("CRASHED" if key in unfinished else before[key]), run
    assert problems_of(home / "flowyard.db") == []

    # Running it again works, and leaves the first run as it was.
    with start(WORKLOADS / "chaos.py", runner) as again:
        out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert out.splitlines()[-1] == RESULT
    states = Counter(
        state for (state,) in query(home, "SELECT state_type FROM flow_run WHERE parent_task_run_id IS NULL")
    )
    assert states["COMPLETED"] == 1
    assert states["CRASHED"] == sum(run["parent"] is None for run in _runs(home, runs_before))
    assert problems_of(home / "flowyard.db") == []
    return (
        f"seed {seed}: {runner}, commit interval {killed.interval} s, killed {1000 * killed.delay:.1f} ms after line "
        f"{killed.after_lines} of {LINES}: {len(killed.kept)} acknowledged states kept, "
        f"{len(before) - len(unfinished)} of {len(before)} task runs finished, {len(unfinished)} Crashed, ran again"
    )


def _runs(home: Path, keys: Any) -> list[dict[str, Any]]:
    rows = query(home, "SELECT id, parent_task_run_id FROM flow_run")
    return [{"id": row[0], "parent": row[1]} for row in rows if row[0] in keys]


@pytest.mark.parametrize(("seed", "runner"), list(zip((1001, 1002, 1003), RUNNERS, strict=True)))
def test_what_a_killed_flow_recorded_is_kept_and_its_run_is_found_crashed(
    home: Path, seed: int, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_a_kill(seed, runner, home, monkeypatch).endswith("ran again")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + TRIALS))
def test_a_flow_that_is_killed_at_any_moment_loses_nothing_that_was_committed(
    home: Path, seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = check_a_kill(seed, RUNNERS[seed % len(RUNNERS)], home, monkeypatch)
    with capsys.disabled():
        print(f"\n{verdict}", end=" ")
    assert verdict.endswith("ran again")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("DELETE FROM flow_run_state", "no row says how it came to it"),
        ("DELETE FROM flow", "in no row of flow"),
        ("DELETE FROM task_run WHERE task_name = 'first'", "in no row of task_run"),
        ('UPDATE rollup SET "count" = "count" + 1', "counting says otherwise"),
        ("UPDATE task_run SET run_count = 7", "has run_count 7"),
        ("UPDATE task_run SET state_type = 'RUNNING', state_name = 'Running' WHERE task_name = 'fickle'", "is RUNNING"),
        ("UPDATE task_run_state SET name = 'Pending' WHERE type = 'RUNNING'", "which nothing does"),
    ],
)
def test_the_audit_of_these_tests_finds_what_is_wrong(audited: Path, damage: str, found: str) -> None:
    with contextlib.closing(sqlite3.connect(audited, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute(damage)
        connection.execute("COMMIT")
    assert found in "\n".join(problems_of(audited))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of one run of the flow that was left alone."""
    home = tmp_path_factory.mktemp("finished")
    with start(WORKLOADS / "chaos.py", "sequential", env={**os.environ, "FLOWYARD_HOME": str(home)}) as process:
        out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert sum(line.startswith(("begin ", "end ")) for line in out.splitlines()) == LINES
    assert problems_of(home / "flowyard.db") == []
    return home / "flowyard.db"


@pytest.fixture
def audited(finished: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy.db"
    with contextlib.closing(sqlite3.connect(finished)) as source, contextlib.closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    return copy


# --- a process that looks dead -------------------------------------------------------------------------------------


def look(home: Path, *, is_command: bool) -> list[str]:
    if is_command:
        return [run["state_name"] for run in flowyard("flow-run", "ls")]
    with temporary_settings({FLOWYARD_HOME: home}), get_client(sync_client=True) as client:
        return [str(run.state_name) for run in client.read_flow_runs()]


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(0.0, id="quick"),
        pytest.param(60.0, id="a-minute", marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
    ],
)
def test_a_task_that_holds_the_interpreter_lock_is_never_called_crashed(home: Path, seconds: float) -> None:
    process = start(WORKLOADS / "hold_gil.py", stdin=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    deadline = time.monotonic() + seconds
    looks = 0
    while looks < 4 or time.monotonic() < deadline:
        assert look(home, is_command=looks % 4 == 0) == ["Running"]
        looks += 1
        if seconds:
            time.sleep(0.5)
    # It waits in C code, with the lock held, until it gets a byte: no other thread of it has run a line of Python.
    out, err = process.communicate("\n", timeout=90)
    assert process.returncode == 0, err
    assert out == "another thread counted on to the same number meanwhile: True\n"
    assert look(home, is_command=True) == ["Completed"]
    print(f"{looks} looks in {seconds} s")


# --- many processes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("processes", "tasks"),
    [
        pytest.param(4, 200, id="4x200"),
        pytest.param(16, 1_000, id="16x1000", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
def test_many_processes_write_into_one_file_and_nothing_is_missing(home: Path, processes: int, tasks: int) -> None:
    # Not even the file is there when they all begin.
    writers = [start(WORKLOADS / "many_tasks.py", str(tasks), stdin=subprocess.PIPE) for _ in range(processes)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    for writer in writers:
        out, err = writer.communicate(timeout=500)
        assert (writer.returncode, out) == (0, f"{sum(range(tasks))}\n"), err[-2000:]
        assert re.findall("WARNING|ERROR|CRITICAL|Traceback|locked", err) == [], err[-2000:]
    database = home / "flowyard.db"
    assert problems_of(database) == []
    assert query(home, "SELECT state_type, count(*) FROM flow_run GROUP BY 1") == [("COMPLETED", processes)]
    assert query(home, "SELECT state_type, count(*) FROM task_run GROUP BY 1") == [("COMPLETED", processes * tasks)]
    states = dict(query(home, "SELECT type, count(*) FROM task_run_state GROUP BY 1"))
    assert states == dict.fromkeys(("PENDING", "RUNNING", "COMPLETED"), processes * tasks)
    (lines,) = query(home, "SELECT count(*) FROM log WHERE message LIKE 'line %'")[0]
    assert lines == processes * tasks
    assert list((home / "owners").iterdir()) == []
