"""A Dask cluster of programs of their own: nothing of the scheduler or the workers is in the measured process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 120.0


class DaskCluster:
    """A scheduler and its workers, each with one thread and no limit of memory but the machine's."""

    def __init__(self, folder: Path, workers: int) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        self.workers = [
            self._start(
                "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1",
                "--memory-limit", "0", "--local-directory", str(folder),
            )
            for _ in range(workers)
        ]  # fmt: skip
        self.address = self._wait_for_address()

    def _start(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "ignore", "-m", f"distributed.cli.dask_{what}"]
        with (self._folder / f"{what}.log").open("ab") as output:
            return subprocess.Popen(
                [*command, "--scheduler-file", str(self._file), *options], stdout=output, stderr=subprocess.STDOUT
            )

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                return str(json.loads(self._file.read_text(encoding="utf-8"))["address"])
            except (OSError, ValueError):
                time.sleep(0.02)
        log = (self._folder / "scheduler.log").read_text(errors="replace")
        raise TimeoutError(f"the Dask scheduler did not start: {log}")

    def close(self) -> None:
        """End all programs."""
        for program in (*self.workers, self.scheduler):
            program.kill()
            program.wait()


@contextmanager
def dask_cluster(workers: int = 2) -> Generator[DaskCluster]:
    """Start a cluster; it is gone when the block is left."""
    with tempfile.TemporaryDirectory(prefix="flowyard-benchmark-dask-", ignore_cleanup_errors=True) as folder:
        cluster = DaskCluster(Path(folder), workers)
        try:
            yield cluster
        finally:
            cluster.close()


def resident_bytes(pid: int | None = None) -> int:
    """Return how much memory a process has in use now; this one's without `pid`."""
    statm = Path("/proc", str(pid or "self"), "statm").read_text(encoding="ascii")
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE")
