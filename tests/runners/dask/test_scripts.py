"""Scripts that start clusters of processes, which import the script."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_SCRIPT = """
from flowyard import flow
from flowyard_dask import DaskTaskRunner

@flow(task_runner=DaskTaskRunner(cluster_kwargs={"n_workers": 1, "dashboard_address": "127.0.0.1:0"}))
def empty() -> None: ...

empty()
"""


def test_a_script_without_a_guard_is_told_what_to_write(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    environment = {**os.environ, "FLOWYARD_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1
    assert 'put the call of the flow below `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]
    assert "a process that is to be a Dask worker calls the flow that started it" in done.stderr
