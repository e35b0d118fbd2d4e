"""A Ray that a flow started for itself ends with the flow, however that ends; what it made is not lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.timeout(400)

_SCRIPT = """
import os, sys, time
from flowyard import flow, task
from flowyard_ray import RayTaskRunner

folder = sys.argv[1]

@task
def make():
    return bytearray(b"x" * 1_000_000)

@task
def linger():
    open(os.path.join(folder, "begun"), "w").close()
    time.sleep(600)

@flow(task_runner=RayTaskRunner(init_kwargs={"num_cpus": 1, "_temp_dir": folder, "object_store_memory": 100_000_000}))
def run(lingers):
    made = make.submit()
    made.wait()
    if lingers:
        linger.submit()
    return made

state = run(sys.argv[2] == "linger", return_state=True)
print("value", len(state.result().result()), flush=True)
"""


def _start(tools: Any, folder: str, mode: str) -> subprocess.Popen[str]:
    environment = tools.environment()
    environment.pop("RAY_AUTH_MODE")
    environment["FLOWYARD_HOME"] = str(Path(folder, "home"))
    Path(folder, "home").mkdir()
    script = Path(folder, "script.py")
    script.write_text(_SCRIPT)
    return subprocess.Popen(
        [sys.executable, str(script), folder, mode],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _wait_until_gone(tools: Any, folder: str) -> list[psutil.Process]:
    deadline = time.monotonic() + 90
    while (left := tools.processes_with(folder)) and time.monotonic() < deadline:
        psutil.wait_procs(left, timeout=1)
    return left


@pytest.mark.parametrize("ending", ["normal", "SIGTERM", "SIGINT", "SIGKILL"])
def test_no_process_outlives_the_flow(ending: str, ray_tools: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="fy-ray-", ignore_cleanup_errors=True) as folder:
        process = _start(ray_tools, folder, "normal" if ending == "normal" else "linger")
        try:
            if ending != "normal":
                deadline = time.monotonic() + 150
                while not Path(folder, "begun").exists():
                    assert process.poll() is None, process.communicate()[0]
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                assert len(ray_tools.processes_with(folder)) > 1, "Ray left no trace in its command lines"
                process.send_signal(getattr(signal, ending))
            output, _ = process.communicate(timeout=200)
            if ending == "normal":
                assert "value 1000000" in output, output
                assert process.returncode == 0
            else:
                assert process.returncode != 0
            left = _wait_until_gone(ray_tools, folder)
            assert not left, [each.cmdline() for each in left]
        finally:
            process.kill()
            ray_tools.end(ray_tools.processes_with(folder))
