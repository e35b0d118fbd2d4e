"""Flows and workers that die at any moment, on one Dask cluster of programs of their own.

uv run --group dev pytest -m slow tests/runners/dask/test_chaos.py           all trials
FLOWYARD_CHAOS_SEED=17 FLOWYARD_CHAOS_TRIALS=1 uv run ...                    one trial again
"""

from __future__ import annotations

import os
import random
import runpy
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flowyard.testing.chaos import Trial

if sys.platform == "win32":
    pytest.skip("there is no SIGKILL", allow_module_level=True)

AUDIT = Path(__file__).parents[2] / "e2e" / "workloads" / "audit.py"
FIRST_SEED = int(os.environ.get("FLOWYARD_CHAOS_SEED", "1"))
TRIALS = int(os.environ.get("FLOWYARD_CHAOS_TRIALS", "50"))
problems_of: Callable[..., list[str]] = runpy.run_path(str(AUDIT))["problems_of"]


@pytest.fixture(scope="module")
def reused(tmp_path_factory: pytest.TempPathFactory, cluster_of_programs: Any) -> Iterator[Any]:
    cluster = cluster_of_programs(tmp_path_factory.mktemp("reused"))
    yield cluster
    cluster.close()


def kill_worker(cluster: Any, dice: random.Random) -> None:
    """Kill one of the workers."""
    dice.choice(cluster.workers).kill()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + TRIALS))
def test_what_dies_at_any_moment_neither_hangs_a_flow_nor_completes_it(
    reused: Any, seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = Trial(
        seed,
        "dask",
        {"address": reused.address},
        tmp_path,
        kill_worker=partial(kill_worker, reused),
        heal=reused.heal,
        problems_of=partial(problems_of, with_losses=True),
    )
    verdict = trial.verdict()
    with capsys.disabled():
        print(f"\n{verdict}", end=" ")
    assert verdict.endswith("ran again")
