"""Flows and workers that die at a random moment: what every runner of processes must survive.

`Trial` kills a flow, or a worker of the cluster that it runs on, with SIGKILL, at a moment that its seed decides: after
so many tasks have begun or ended, and up to 20 ms later. Then it verifies that nothing hangs, that nothing is Completed
that did not complete, that lost work is done again where `crash_retries` allow it and not where they do not, and that
the same flow then runs to its end. A trial with the same seed kills the same victim at the same mark.

Run as a program, `python -m flowyard.testing.chaos RUNNER OPTIONS FOLDER CRASH_RETRIES`, this is the flow: each of its
tasks leaves a file in the folder when it begins, and one when it ends.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flowyard.client import get_client
from flowyard.flows import flow
from flowyard.settings import FLOWYARD_HOME, temporary_settings
from flowyard.task_runners.registry import task_runner_named
from flowyard.tasks import task

WIDTH = 8
MARKS = 2 * (4 * WIDTH + 1)
"""How many files one run of the flow leaves, when nothing dies."""
RESULT = "36120"
SECONDS = 100.0
"""After how many seconds a flow is said to hang."""


# --- the flow ------------------------------------------------------------------------------------------------------


def mark(folder: str, moment: str, name: str) -> None:
    """Leave a file; a task that runs again leaves another one."""
    number = 0
    while True:
        try:
            os.close(os.open(Path(folder, f"{moment}-{name}-{number}"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            number += 1
        else:
            return


@task
def make(folder: str, number: int) -> list[int]:
    """Make a value that stays on the cluster."""
    mark(folder, "begin", f"make-{number}")
    time.sleep(0.01)
    mark(folder, "end", f"make-{number}")
    return [number] * 1_000


@task
def change(folder: str, values: list[int], number: int) -> list[int]:
    """Make another value of one."""
    mark(folder, "begin", f"change-{number}")
    time.sleep(0.01)
    mark(folder, "end", f"change-{number}")
    return [value + 1 for value in values]


@task
def small(folder: str, number: int) -> int:
    """Be one of a batch."""
    mark(folder, "begin", f"small-{number}")
    mark(folder, "end", f"small-{number}")
    return number


@task
def total(folder: str, parts: list[list[int]], numbers: list[int]) -> int:
    """Need everything."""
    mark(folder, "begin", "total-0")
    mark(folder, "end", "total-0")
    return sum(map(sum, parts)) + sum(numbers)


@flow(name="chaos")
def chaos(folder: str, crash_retries: int) -> int:
    """Run layers of tasks whose values stay on the cluster, and a map in batches."""
    making, changing, mapping, adding = (
        each.with_options(crash_retries=crash_retries) for each in (make, change, small, total)
    )
    made: list[Any] = [making.submit(folder, number) for number in range(WIDTH)]
    numbers: Any = mapping.map(folder, range(2 * WIDTH), batch_size=4)
    changed: list[Any] = [changing.submit(folder, values, number) for number, values in enumerate(made)]
    return adding.submit(folder, changed, list(numbers)).result()


# --- the trial -----------------------------------------------------------------------------------------------------


class Trial:
    """One kill, and what must be true afterwards.

    Args:
        seed: decides victim, moment and `crash_retries`.
        runner: name of the task runner, as in `FLOWYARD_TASK_RUNNER`.
        options: of the runner; as JSON they are told to the flow's process.
        folder: an empty one, for the flow's home and marks.
        kill_worker: kills a worker of the cluster that `options` name.
        heal: returns when the cluster has all its workers again.
        problems_of: audits a database; an empty list is good.
    """

    def __init__(
        self,
        seed: int,
        runner: str,
        options: Mapping[str, Any],
        folder: Path,
        *,
        kill_worker: Callable[[random.Random], None],
        heal: Callable[[], None],
        problems_of: Callable[[Path], list[str]],
    ) -> None:
        self._dice = random.Random(seed)
        self._command = [sys.executable, "-m", __spec__.name, runner, json.dumps(dict(options))]
        self._home, self._folder = folder / "home", folder
        self._kill_worker, self._heal, self._problems_of = kill_worker, heal, problems_of
        self.victim = self._dice.choice(["flow", "worker"])
        self.after = self._dice.randint(1, MARKS - 6)
        self.delay = self._dice.uniform(0.0, 0.020)
        self.crash_retries = self._dice.choice([0, 3])
        self.plan = (
            f"seed {seed}: {self.victim} killed {1000 * self.delay:.1f} ms after mark {self.after} of {MARKS}, "
            f"crash_retries={self.crash_retries}"
        )

    def verdict(self) -> str:
        """Kill, look at what is left, run the flow again; return what was seen. Raises AssertionError."""
        self._heal()
        marks = self._folder / "marks"
        program = self._start(marks)
        deadline = time.monotonic() + SECONDS
        while _count(marks) < self.after and program.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(self.delay)
        is_in_between = program.poll() is None and not (marks / "end-total-0-0").exists()
        if self.victim == "flow":
            program.send_signal(signal.SIGKILL)
        else:
            self._kill_worker(self._dice)
        out, errors = self._end_of(program, self.plan)
        seen = self._check_records(marks, out, errors, is_in_between=is_in_between)
        self._heal()
        out, errors = self._end_of(self._start(self._folder / "again"), f"{self.plan}, run again")
        assert out.splitlines()[-1:] == [RESULT], f"{self.plan}, run again: {out}\n{errors}"
        return f"{self.plan}{'' if is_in_between else ' (the flow was over)'}: {seen}, ran again"

    def _start(self, marks: Path) -> subprocess.Popen[str]:
        marks.mkdir()
        return subprocess.Popen(
            [*self._command, str(marks), str(self.crash_retries)],
            env={**os.environ, "FLOWYARD_HOME": str(self._home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _end_of(self, program: subprocess.Popen[str], plan: str) -> tuple[str, str]:
        try:
            return program.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            _, errors = program.communicate()
            raise AssertionError(f"{plan}: hangs for {SECONDS} s\n{errors}") from None

    def _check_records(self, marks: Path, out: str, errors: str, *, is_in_between: bool) -> str:
        began, ended = _names(marks, "begin"), _names(marks, "end")
        with temporary_settings({FLOWYARD_HOME: self._home}), get_client(sync_client=True) as client:
            (flow_run,) = client.read_flow_runs()
            task_runs = client.read_task_runs(limit=200)
        problems = self._problems_of(self._home / "flowyard.db")
        assert problems == [], f"{self.plan}: {problems}"
        assert flow_run.state_type is not None
        flow_state = flow_run.state_type.value
        assert flow_state in ("COMPLETED", "FAILED", "CRASHED"), f"{self.plan}: the flow run is {flow_state}"
        states: Counter[str] = Counter()
        for run in task_runs:
            assert run.state_type is not None
            state = run.state_type.value
            states[state] += 1
            if state == "COMPLETED":
                assert ended[run.name], f"{self.plan}: {run.name} is Completed, and its function did not end"
            assert state not in ("RUNNING", "PENDING") or flow_state != "COMPLETED", (
                f"{self.plan}: {run.name} is {state}"
            )
            if self.victim == "worker":
                times = began[run.name]
                assert times <= 1 + self.crash_retries, f"{self.plan}: {run.name} began {times} times"
        if flow_state == "COMPLETED":
            assert states["COMPLETED"] == len(task_runs) == MARKS // 2, f"{self.plan}: {states}"
            assert self.victim == "flow" or out.splitlines()[-1:] == [RESULT], f"{self.plan}: {out}\n{errors}"
        if is_in_between:
            assert self.victim == "worker" or flow_state == "CRASHED", f"{self.plan}: the flow run is {flow_state}"
            assert self.victim == "flow" or not self.crash_retries or flow_state == "COMPLETED", (
                f"{self.plan}: {flow_state}, although lost work is to be done again\n{errors}"
            )
        return f"flow {flow_state}, tasks {dict(sorted(states.items()))}"


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def _names(folder: Path, moment: str) -> Counter[str]:
    """Return how often each task began or ended, by the name of its run."""
    return Counter(path.name.removeprefix(f"{moment}-").rsplit("-", 1)[0] for path in folder.glob(f"{moment}-*"))


if __name__ == "__main__":
    name, chosen, where, retries = sys.argv[1:]
    made_of = type(task_runner_named(name))
    sys.stdout.write(f"{chaos.with_options(task_runner=made_of(**json.loads(chosen)))(where, int(retries))}\n")
