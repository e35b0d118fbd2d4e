"""A flow that is killed anywhere goes on, and executes nothing again that was complete and persisted.

    uv run --group dev pytest -m "slow and not ray" tests/e2e/test_resume_chaos.py   100 trials on each runner
    uv run --group dev pytest -m "slow and ray" tests/e2e/test_resume_chaos.py       on a Ray of two CPUs
    FLOWYARD_CHAOS_SEED=17 FLOWYARD_CHAOS_TRIALS=1 uv run ... -k concurrent          one trial again

Each trial kills `workloads/resumable.py` with SIGKILL at a moment that its seed decides: after so many of its 200 tasks
have ended, and up to 20 ms later. It verifies that this was after the first and before the last has ended, and resumes
the run in another process. What is complete and persisted is what the database has as Completed at the kill, and what
lies in storage as a whole: a result counts without its state.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import runpy
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowyard.exceptions import CorruptResult
from flowyard.results.blob import read_header

if sys.platform == "win32":
    pytest.skip("there is no SIGKILL", allow_module_level=True)

HERE = Path(__file__).parent
WORKLOAD = HERE / "workloads" / "resumable.py"
FIRST_SEED = int(os.environ.get("FLOWYARD_CHAOS_SEED", "1"))
TRIALS = int(os.environ.get("FLOWYARD_CHAOS_TRIALS", "100"))
MODES = ("plain", "completion", "edited")
RUNNERS = ("sequential", "concurrent", "process")
TASKS = 200
VALUE = sum(range(100)) * 1000
EXTRA = 7
EDITS = (
    # Everything moves down, the calls come in another order, and there is one more in the middle.
    ("HALF = 100\n", "HALF = 100\n# Edited since it was killed.\n\n"),
    ("for number in range(HALF)]", "for number in reversed(range(HALF))]\n    more = extra.submit(folder)"),
    ("for future in made])", "for future in made]) + more.result()"),
)
PATIENCE_SECONDS = 240.0
DASK = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@contextlib.contextmanager
def dask_cluster(folder: Path) -> Generator[str]:
    """Yield the address of a cluster of two threads that lives in processes of its own."""
    file = folder / "cluster.py"
    file.write_text(DASK)
    with (
        (folder / "cluster.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        address = process.stdout.readline().strip()
        assert address, (folder / "cluster.log").read_text()
        yield address
        process.stdin.close()
        process.wait(90)


# --- what is left ----------------------------------------------------------------------------------------------------


def log_of(folder: Path) -> list[list[str]]:
    """Return moment, name and task run of all that happened."""
    log = folder / "log"
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def beginnings(folder: Path) -> Counter[str]:
    return Counter(name for moment, name, _ in log_of(folder) if moment == "begin")


def stored(home: Path) -> set[str]:
    """Return the task runs whose results lie in storage as a whole, whichever files they are in."""
    found: set[str] = set()
    for path in (home / "storage").rglob("*"):
        if not path.is_file() or path.name.startswith("."):  # not in its place yet
            continue
        content = path.read_bytes()
        for match in re.finditer(rb'\{"format": "flowyard-result/[^\n]*\n', content):
            with contextlib.suppress(CorruptResult):
                header = read_header(match[0], str(path))
                is_whole = match.start() + header.file_size(len(match[0])) <= len(content)
                if is_whole and header.state_type == "COMPLETED" and header.task_run_id is not None:
                    found.add(header.task_run_id)
    return found


def completed(home: Path) -> set[str]:
    """Return the task runs that the database has as Completed."""
    with contextlib.closing(sqlite3.connect(home / "flowyard.db", timeout=90)) as connection:
        rows = connection.execute("SELECT id FROM task_run WHERE state_type = 'COMPLETED'").fetchall()
    return {str(UUID(bytes=row[0])) for row in rows}


# --- the trial -------------------------------------------------------------------------------------------------------


class Trial:
    """One kill between the end of the first task and that of the last."""

    def __init__(self, seed: int, runner: str, folder: Path, address: str = "") -> None:
        self._runner = runner
        self._mode = MODES[seed % len(MODES)]
        self._address = address
        for attempt in range(20):
            # Where the flow was faster than the killer, the trial is made again with an earlier moment.
            dice = random.Random(f"{seed}/{runner}/{attempt}")
            self._after = dice.randint(1, TASKS - 10 - 5 * attempt)
            self._delay = dice.uniform(0, 0.02)
            self._folder = folder / f"{runner}-{seed}-{attempt}"
            self._home = self._folder / "home"
            self._folder.mkdir()
            shutil.copy(WORKLOAD, self._program)
            if self._kill():
                return
        pytest.fail(f"{runner} seed {seed}: no attempt hit between the first and the last task")

    @property
    def _program(self) -> Path:
        return self._folder / "resumable.py"

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "FLOWYARD_HOME": str(self._home),
            "FLOWYARD_LOGGING_LEVEL": "ERROR",
            "RESUMABLE_RUNNER": self._runner,
            "RESUMABLE_ORDER": "completion" if self._mode == "completion" else "given",
            "RESUMABLE_ADDRESS": self._address,
        }

    def _start(self, word: str, errors: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(self._program), word],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )

    def _ended(self) -> int:
        return sum(moment == "end" for moment, *_ in log_of(self._folder))

    def _kill(self) -> bool:
        deadline = time.monotonic() + PATIENCE_SECONDS
        with (self._folder / "errors").open("w") as errors, self._start(str(self._folder), errors) as process:
            while self._ended() < self._after and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.002)
            time.sleep(self._delay)
            process.send_signal(signal.SIGKILL)
            output, _ = process.communicate()
        said = (self._folder / "errors").read_text()
        assert "Traceback" not in said, said[-3000:]
        assert time.monotonic() < deadline, f"it hangs: {said[-3000:]}"
        self._settle()
        return process.returncode == -signal.SIGKILL and not output and 1 <= self._ended() < TASKS

    def _settle(self) -> None:
        """Wait until workers that outlived the flow have stopped writing."""
        before, now = -1, len(log_of(self._folder))
        while self._runner in ("process", "dask", "ray") and now != before:
            time.sleep(0.2)
            before, now = now, len(log_of(self._folder))

    def verdict(self) -> str:
        """Resume; return what was seen. Raises AssertionError."""
        log, began = log_of(self._folder), beginnings(self._folder)
        in_storage, in_database = stored(self._home), completed(self._home)
        names = {run: name for _, name, run in log}
        if self._mode == "edited":
            text = self._program.read_text()
            for old, new in EDITS:
                assert text.count(old) == 1
                text = text.replace(old, new)
            self._program.write_text(text)
        with (self._folder / "errors-of-resume").open("w") as errors, self._start("resume", errors) as process:
            try:
                output, _ = process.communicate(timeout=PATIENCE_SECONDS)
            finally:
                process.kill()
        said = (self._folder / "errors-of-resume").read_text()[-3000:]
        assert process.returncode == 0, said
        wanted = VALUE + (EXTRA if self._mode == "edited" else 0)
        assert output.splitlines() == ["found Crashed", f"value {wanted}"], f"wrong: {output}{said}"
        after = beginnings(self._folder)
        again = sorted(names[run] for run in in_storage | in_database if after[names[run]] > began[names[run]])
        assert not again, f"complete and persisted, and executed again: {again}"
        assert len(after) == TASKS + (self._mode == "edited")
        return (
            f"{self._mode}, killed {1000 * self._delay:.1f} ms after {self._after} of {TASKS} had ended: "
            f"{len(in_storage)} kept ({len(in_database)} with their state), {sum((after - began).values())} executed"
        )


def failures_of(runner: str, folder: Path, capsys: pytest.CaptureFixture[str], address: str = "") -> list[str]:
    """Make all trials and say a line about each; return those that failed."""
    failures: list[str] = []
    for seed in range(FIRST_SEED, FIRST_SEED + TRIALS):
        try:
            line = f"{runner} seed {seed}: {Trial(seed, runner, folder, address).verdict()}"
        except AssertionError as error:
            line = f"{runner} seed {seed}: FAILED: {error}"
            failures.append(line)
        else:
            for trial in folder.glob(f"{runner}-{seed}-*"):
                shutil.rmtree(trial)
        with capsys.disabled():
            print(f"\n{line}", end=" ", flush=True)
    return failures


@pytest.mark.parametrize(("seed", "runner"), list(zip((1001, 1002, 1003), RUNNERS, strict=True)))
def test_a_flow_that_was_killed_goes_on_where_it_was(seed: int, runner: str, tmp_path: Path) -> None:
    assert "kept" in Trial(seed, runner, tmp_path).verdict()


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("runner", RUNNERS)
def test_nothing_complete_is_executed_again(runner: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert failures_of(runner, tmp_path, capsys) == []


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_nothing_complete_is_executed_again_on_dask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with dask_cluster(tmp_path) as address:
        assert failures_of("dask", tmp_path, capsys, address) == []


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(7200)
def test_nothing_complete_is_executed_again_on_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Ray's own tests know how to start one on a machine that is busy, and how to end all of its processes.
    running_cluster = runpy.run_path(str(HERE.parent / "runners" / "ray" / "conftest.py"))["running_cluster"]
    with running_cluster() as cluster:
        assert failures_of("ray", tmp_path, capsys, cluster.address) == []
