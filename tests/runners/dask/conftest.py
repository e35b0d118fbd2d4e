"""Dask clusters for the tests: in threads, in processes, and made of programs of their own, with and without TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

_START_SECONDS = 60.0


class ExternalCluster:
    """A scheduler and workers as programs of their own, as on a cluster of machines."""

    def __init__(self, folder: Path, *, workers: int = 2, security: Security | None = None) -> None:
        self._folder = folder
        self.security = security
        self._tls: list[str] = [] if security is None else self._write_keys(security)
        self._file = folder / "scheduler.json"
        protocol = "tcp" if security is None else "tls"
        self.scheduler = self._start(
            "scheduler", "--protocol", protocol, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"
        )
        self.workers = [self.start_worker(f"worker-{number}") for number in range(workers)]
        self.address = self._wait_for_address()

    def _write_keys(self, security: Security) -> list[str]:
        options: list[str] = []
        for option, content in (
            ("--tls-ca-file", security.tls_ca_file),
            ("--tls-cert", security.tls_worker_cert),
            ("--tls-key", security.tls_worker_key),
        ):
            path = self._folder / option.strip("-")
            path.write_text(str(content))
            options += [option, str(path)]
        return options

    def _start(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-W", "ignore", "-m", "distributed.cli.dask_" + what]
        output = (self._folder / f"{what}-{time.monotonic_ns()}.log").open("wb")
        with output:
            return subprocess.Popen(
                [*command, "--scheduler-file", str(self._file), *self._tls, *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"},
            )

    def start_worker(self, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker with one thread."""
        return self._start(
            "worker", "--name", name, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1",
            "--local-directory", str(self._folder), *options,
        )  # fmt: skip

    def _wait_for_address(self) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                return str(json.loads(self._file.read_text())["address"])
            except (OSError, ValueError):
                time.sleep(0.02)
        raise TimeoutError(f"the Dask scheduler did not start: {self.output()}")

    def output(self) -> str:
        """Return what the programs wrote."""
        return "\n".join(path.read_text(errors="replace") for path in self._folder.glob("*.log"))

    def close(self) -> None:
        """End all programs."""
        programs = [*self.workers, self.scheduler]
        for program in programs:
            program.kill()
        for program in programs:
            program.wait()


@pytest.fixture(scope="session")
def threads() -> Iterator[LocalCluster]:
    cluster: Any
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def processes() -> Iterator[LocalCluster]:
    cluster: Any
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def cluster_of_programs() -> type[ExternalCluster]:
    return ExternalCluster


@pytest.fixture(scope="session")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExternalCluster]:
    cluster = ExternalCluster(tmp_path_factory.mktemp("external"))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExternalCluster]:
    cluster = ExternalCluster(tmp_path_factory.mktemp("secured"), security=Security.temporary())
    yield cluster
    cluster.close()


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExternalCluster]:
    """A cluster of programs that a test may kill."""
    cluster = ExternalCluster(tmp_path_factory.mktemp("small"))
    with Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
    yield cluster
    cluster.close()
