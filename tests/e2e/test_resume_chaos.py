"""A flow that is killed anywhere goes on, and executes nothing again that was complete and persisted.

    uv run --group dev pytest -m slow tests/e2e/test_resume_chaos.py            100 trials on each runner
    FLOWYARD_CHAOS_SEED=17 FLOWYARD_CHAOS_TRIALS=1 uv run ...                   one trial again

Each trial kills `workloads/resumable.py` with SIGKILL after a number of executions that its seed decides, between the
first task and the last, and resumes the run in another process. What counts as complete and persisted is what lies in
the run's folder of results at the kill.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from flowyard.results.blob import read_header

if sys.platform == "win32":
    pytest.skip("there is no SIGKILL", allow_module_level=True)

WORKLOAD = Path(__file__).parent / "workloads" / "resumable.py"
FIRST_SEED = int(os.environ.get("FLOWYARD_CHAOS_SEED", "1"))
TRIALS = int(os.environ.get("FLOWYARD_CHAOS_TRIALS", "100"))
MODES = ("plain", "completion", "edited")
TASKS = 200
VALUE = sum(range(100)) * 1000


DASK = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        print("address", cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
RAY = """
import sys, ray
context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
print("address", context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""


@contextlib.contextmanager
def cluster(script: str, folder: Path) -> Generator[str]:
    """Yield the address of a cluster of two threads or processes that lives in a process of its own."""
    file = folder / "cluster.py"
    file.write_text(script)
    with (
        (folder / "cluster.log").open("w") as log,
        subprocess.Popen(
            [sys.executable, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        address = next((line.split()[1] for line in process.stdout if line.startswith("address ")), None)
        assert address is not None, (folder / "cluster.log").read_text()
        yield address
        process.stdin.close()
        process.wait(60)


def environment(home: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "FLOWYARD_HOME": str(home), "FLOWYARD_LOGGING_LEVEL": "ERROR", **more}


def executions(folder: Path) -> list[str]:
    log = folder / "executions"
    return log.read_text().splitlines() if log.exists() else []


def persisted(home: Path) -> set[str]:
    """Return the executions whose results lie in storage, as the lines that they wrote."""
    found: set[str] = set()
    for path in (home / "storage" / "runs").glob("*/tasks/*/*"):
        if path.is_file() and not path.name.startswith("."):
            with contextlib.suppress(FileNotFoundError):
                content = path.read_bytes()
                header = read_header(content, str(path))
                if header.state_type == "COMPLETED" and header.task_key is not None:
                    name = header.task_key.partition("-")[0]
                    value = int(_value(content))
                    found.add(f"{name} {value // 1000 if name == 'second' else value}")
    return found


def _value(content: bytes) -> Any:
    from flowyard.results.reading import read_value

    return read_value(content, "a result")


class Killed:
    """A run that was killed between its first task and its last."""

    def __init__(self, seed: int, runner: str, mode: str, folder: Path, **more: str) -> None:
        for attempt in range(20):
            dice = random.Random(f"{seed}/{runner}/{attempt}")
            self.folder = folder / f"{seed}-{attempt}"
            self.home = self.folder / "home"
            self.folder.mkdir(parents=True)
            self.after = dice.randint(1, TASKS - 20 - attempt)
            self.pause = dice.uniform(0, 0.02)
            self.environment = environment(self.home, **more)
            if self._kill(runner, mode):
                return
        pytest.fail(f"seed {seed}: no attempt hit between the first task and the last")

    def _kill(self, runner: str, mode: str) -> bool:
        with (self.folder / "errors").open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, str(WORKLOAD), runner, mode, str(self.folder)],
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        deadline = time.monotonic() + 120
        while len(executions(self.folder)) < self.after and process.poll() is None:
            assert time.monotonic() < deadline, (self.folder / "errors").read_text()
            time.sleep(0.001)
        time.sleep(self.pause)
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate()
        assert "Traceback" not in (self.folder / "errors").read_text(), (self.folder / "errors").read_text()
        return "value" not in output and process.returncode == -signal.SIGKILL


def settled(folder: Path, home: Path) -> tuple[list[str], set[str]]:
    """Return what was executed and persisted once the workers of the killed process have stopped writing."""
    before: Any = None
    now = (executions(folder), persisted(home))
    while now != before:
        time.sleep(0.3)
        before, now = now, (executions(folder), persisted(home))
    return now


def check(seed: int, runner: str, folder: Path, **more: str) -> str:
    """Kill a run and resume it; return the verdict."""
    mode = MODES[seed % len(MODES)]
    killed = Killed(seed, runner, mode, folder, **more)
    executed, kept = settled(killed.folder, killed.home)
    listed = subprocess.run(
        [sys.executable, "-m", "flowyard.cli", "flow-run", "ls", "-o", "json"],
        env=killed.environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    (run,) = json.loads(listed.stdout)
    assert run["state"]["name"] == "Crashed", run["state"]
    resumed = subprocess.run(
        [sys.executable, str(WORKLOAD), runner, mode, str(killed.folder), "resume", run["id"]],
        env=killed.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    wanted = VALUE + (7 if mode == "edited" else 0)
    assert resumed.stdout.split()[-1] == str(wanted), resumed.stdout
    counts = Counter(executions(killed.folder))
    before = Counter(executed)
    again = sorted(line for line in kept if counts[line] > before[line])
    assert not again, f"complete and persisted, and executed again: {again}"
    assert len(counts) == TASKS + (mode == "edited")
    return f"{mode}: killed after {len(executed)} executions, {len(kept)} kept, {sum(counts.values())} in all"


def run_trials(runner: str, folder: Path, **more: str) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + TRIALS):
        print(f"{runner} seed {seed}: {check(seed, runner, folder, **more)}", flush=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("runner", ["sequential", "concurrent", "process"])
def test_nothing_complete_is_executed_again(runner: str, tmp_path: Path) -> None:
    run_trials(runner, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nothing_complete_is_executed_again_on_dask(tmp_path: Path) -> None:
    with cluster(DASK, tmp_path) as address:
        run_trials("dask", tmp_path, RESUMABLE_DASK=address)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(3600)
def test_nothing_complete_is_executed_again_on_ray(tmp_path: Path) -> None:
    with cluster(RAY, tmp_path) as address:
        run_trials("ray", tmp_path, RESUMABLE_RAY=address)
