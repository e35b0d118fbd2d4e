"""What the examples and the how-to promise on Ray."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import psutil
import pytest

from flowyard.flows import flow
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard_ray import RayTaskRunner
from flowyard_ray.jobs import RayHandle

pytestmark = pytest.mark.timeout(400)
CENSUS = Path(__file__).resolve().parents[3] / "examples" / "census.py"


def counts(runner: str, folder: Path, environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(CENSUS), str(folder), "--runner", runner, "--output", "json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout[done.stdout.index("{") :])
    return {package["name"]: package for package in report["packages"]}


def test_the_census_counts_the_same_on_ray(ray_cluster: Any, tmp_path: Path) -> None:
    for number in range(6):
        file = tmp_path / "source" / f"package{number % 2}" / f"module{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("import os\n\ndef work():\n    if os:\n        return 1\n" if number else "print 'hello'\n")
    environment = {**os.environ, "FLOWYARD_HOME": str(tmp_path / "home"), "RAY_ADDRESS": ray_cluster.address}
    on_ray = counts("ray", tmp_path / "source", environment)
    assert on_ray == counts("sequential", tmp_path / "source", environment)
    assert on_ray["package0"]["failures"] == {
        "package0/module0.py": "SyntaxError: Missing parentheses in call to 'print'. Did you mean print(...)? (line 1)"
    }


def test_a_large_value_that_others_read_never_visits_the_flow(ray_driver: str) -> None:
    size = 60_000_000

    @task
    def make() -> bytes:
        return b"x" * size

    @task
    def length(data: bytes) -> int:
        return len(data)

    @flow(task_runner=RayTaskRunner())
    def run() -> tuple[int, weakref.ref[Any]]:
        assert length.submit(b"1").result() == 1
        before = psutil.Process().memory_info().rss
        made = make.submit()
        assert [future.result() for future in [length.submit(made) for _ in range(4)]] == [size] * 4
        growth = psutil.Process().memory_info().rss - before
        assert isinstance(made.handle, RayHandle)
        return growth, weakref.ref(made.handle.place)

    with flowyard_test_harness():
        growth, place = run()
    assert growth < size / 4
    gc.collect()
    deadline = time.monotonic() + 90  # threads may be on their way out of it still
    while place() is not None and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert place() is None, "nobody has the future any more, and Ray keeps the value"
