"""Flows and workers that die at any moment, on one Dask cluster of programs of their own.

    uv run --group dev pytest -m slow tests/runners/dask/test_chaos.py           all trials
    FLOWYARD_CHAOS_SEED=17 FLOWYARD_CHAOS_TRIALS=1 uv run ...                    one trial again

A trial starts `workloads/chaos.py`, and kills it or a worker with SIGKILL at a moment that its seed decides: after so
many tasks have begun or ended, and up to 20 ms later.
"""

from __future__ import annotations

import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from flowyard.client import get_client
from flowyard.settings import FLOWYARD_HOME, temporary_settings

if sys.platform == "win32":
    pytest.skip("there is no SIGKILL", allow_module_level=True)

CHAOS = Path(__file__).parent / "workloads" / "chaos.py"
AUDIT = Path(__file__).parents[2] / "e2e" / "workloads" / "audit.py"
FIRST_SEED = int(os.environ.get("FLOWYARD_CHAOS_SEED", "1"))
TRIALS = int(os.environ.get("FLOWYARD_CHAOS_TRIALS", "50"))
MARKS = 2 * (8 + 8 + 16 + 1)
"""What one run of the flow leaves, when nothing dies."""
RESULT = "36120"
SECONDS = 90.0
problems_of: Callable[..., list[str]] = runpy.run_path(str(AUDIT))["problems_of"]


@pytest.fixture(scope="module")
def reused(tmp_path_factory: pytest.TempPathFactory, cluster_of_programs: Any) -> Iterator[Any]:
    cluster = cluster_of_programs(tmp_path_factory.mktemp("reused"))
    yield cluster
    cluster.close()


def wait_for_workers(cluster: Any) -> None:
    """Put new workers where some were killed, and wait until the scheduler knows who lives."""
    for number, worker in enumerate(cluster.workers):
        if worker.poll() is not None:
            cluster.workers[number] = cluster.start_worker(f"worker-{time.monotonic_ns()}")
    client: Any
    with Client(cluster.address, set_as_default=False) as client:
        deadline = time.monotonic() + SECONDS
        while sorted(client.run(os.getpid, on_error="ignore").values()) != sorted(w.pid for w in cluster.workers):
            assert time.monotonic() < deadline, cluster.output()
            time.sleep(0.05)


def start_flow(cluster: Any, home: Path, folder: Path, crash_retries: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(CHAOS), cluster.address, str(folder), str(crash_retries)],
        env={**os.environ, "FLOWYARD_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def outcome_of(program: subprocess.Popen[str], verdict: str) -> tuple[str, str]:
    """Wait for a flow's end; one that hangs fails the trial."""
    try:
        return program.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()
        _, errors = program.communicate()
        pytest.fail(f"{verdict}: hangs for {SECONDS} s\n{errors}")


def marks(folder: Path, moment: str) -> Counter[str]:
    """Return how often each task began or ended, by the name of its file."""
    return Counter(path.name.split("-", 1)[1].rsplit("-", 1)[0] for path in folder.glob(f"{moment}-*"))


def check_a_kill(seed: int, cluster: Any, tmp_path: Path) -> str:
    """Kill a flow or a worker, look at what is left, run the flow again; return the verdict."""
    dice = random.Random(seed)
    victim = dice.choice(["flow", "worker"])
    after = dice.randint(1, MARKS - 6)
    delay = dice.uniform(0.0, 0.020)
    crash_retries = dice.choice([0, 3])
    which = dice.randrange(2)
    verdict = (
        f"seed {seed}: {victim} killed {1000 * delay:.1f} ms after mark {after} of {MARKS}, "
        f"crash_retries={crash_retries}"
    )
    home, folder = tmp_path / "home", tmp_path / "marks"
    folder.mkdir()
    wait_for_workers(cluster)
    program = start_flow(cluster, home, folder, crash_retries)
    deadline = time.monotonic() + SECONDS
    while sum(1 for _ in folder.iterdir()) < after and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(delay)
    is_in_between = program.poll() is None and not (folder / "end-total-0-0").exists()
    (program if victim == "flow" else cluster.workers[which]).send_signal(signal.SIGKILL)
    out, errors = outcome_of(program, verdict)

    began, ended = marks(folder, "begin"), marks(folder, "end")
    with temporary_settings({FLOWYARD_HOME: home}), get_client(sync_client=True) as client:
        (flow_run,) = client.read_flow_runs()
        task_runs = client.read_task_runs(limit=200)
    assert problems_of(home / "flowyard.db", with_losses=True) == [], verdict
    assert flow_run.state_type is not None
    flow_state = flow_run.state_type.value
    assert flow_state in ("COMPLETED", "FAILED", "CRASHED"), f"{verdict}: the flow run is {flow_state}"
    states: Counter[str] = Counter()
    for run in task_runs:
        assert run.state_type is not None
        states[run.state_type.value] += 1
        if run.state_type.value == "COMPLETED":
            assert ended[run.name] >= 1, f"{verdict}: {run.name} is Completed, and its function did not end"
        assert run.state_type.value not in ("RUNNING", "PENDING") or flow_state != "COMPLETED", f"{verdict}: {run.name}"
        if victim == "worker":
            assert began[run.name] <= 1 + crash_retries, f"{verdict}: {run.name} began {began[run.name]} times"
    if flow_state == "COMPLETED":
        assert states["COMPLETED"] == len(task_runs) == MARKS // 2, f"{verdict}: {states}"
        assert out.strip() == RESULT, verdict
        assert program.returncode == 0 or victim == "flow", errors
    elif is_in_between and victim == "worker" and crash_retries:
        pytest.fail(f"{verdict}: {flow_state}, although lost work is to be done again\n{errors}")
    if victim == "flow" and is_in_between:
        assert flow_state == "CRASHED", verdict

    # Running it again works, on the same cluster.
    wait_for_workers(cluster)
    again = tmp_path / "again"
    again.mkdir()
    program = start_flow(cluster, home, again, crash_retries)
    out, errors = outcome_of(program, f"{verdict}, run again")
    assert out.strip() == RESULT, f"{verdict}, run again:\n{errors}"
    moment = "" if is_in_between else " (the flow was over)"
    return f"{verdict}{moment}: flow {flow_state}, tasks {dict(states)}, ran again"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + TRIALS))
def test_what_dies_at_any_moment_neither_hangs_a_flow_nor_completes_it(
    reused: Any, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = check_a_kill(seed, reused, tmp_path)
    with capsys.disabled():
        print(f"\n{verdict}", end=" ")
