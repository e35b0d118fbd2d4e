"""Flows and workers that die at any moment, on one Ray of two CPUs.

uv run --group dev pytest -m slow tests/runners/ray/test_chaos.py           all trials
FLOWYARD_CHAOS_SEED=17 FLOWYARD_CHAOS_TRIALS=1 uv run ...                   one trial again
"""

from __future__ import annotations

import contextlib
import os
import random
import runpy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from flowyard.testing.chaos import Trial

if sys.platform == "win32":
    pytest.skip("there is no SIGKILL", allow_module_level=True)

AUDIT = Path(__file__).parents[2] / "e2e" / "workloads" / "audit.py"
FIRST_SEED = int(os.environ.get("FLOWYARD_CHAOS_SEED", "1"))
TRIALS = int(os.environ.get("FLOWYARD_CHAOS_TRIALS", "50"))
problems_of: Callable[..., list[str]] = runpy.run_path(str(AUDIT))["problems_of"]


def kill_worker(address: str, dice: random.Random) -> None:
    """Kill a worker of the cluster that executes a task now; where none does, one that could be the next to."""
    port = address.rpartition(":")[2]
    workers: list[tuple[str, psutil.Process]] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            title = " ".join(process.cmdline())
            if not title.startswith("ray::") or "Mailbox" in title or "Agent" in title:
                continue
            raylet = process.parent()
            if raylet is not None and any(port in part for part in raylet.cmdline()):
                workers.append((title, process))
    busy = [process for title, process in workers if "IDLE" not in title]
    victims = sorted(busy or [process for _, process in workers], key=lambda process: process.pid)
    if victims:
        with contextlib.suppress(psutil.Error):
            dice.choice(victims).kill()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + TRIALS))
def test_what_dies_at_any_moment_neither_hangs_a_flow_nor_completes_it(
    ray_cluster: Any, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = Trial(
        seed,
        "ray",
        {"address": ray_cluster.address},
        tmp_path,
        kill_worker=partial(kill_worker, ray_cluster.address),
        heal=lambda: None,  # Ray starts a worker where one is missing
        problems_of=partial(problems_of, with_losses=True),
    )
    verdict = trial.verdict()
    with capsys.disabled():
        print(f"\n{verdict}", end=" ")
    assert verdict.endswith("ran again")
