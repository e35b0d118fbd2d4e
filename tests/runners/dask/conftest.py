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

import dask.config
import psutil
import pytest
from distributed import Client, LocalCluster
from distributed.security import Security

_START_SECONDS = 100.0
# A cluster that waits takes a fifth of a processor, which other tests want: these make it a thirtieth.
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "2s",
    "distributed.admin.system-monitor.interval": "10s",
}


@pytest.fixture(scope="session", autouse=True)
def _quiet() -> Iterator[None]:
    """Let the clusters of these tests, in this process and in others, rest while nobody wants anything."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _QUIET.items():
            patch.setenv("DASK_" + name.upper().replace(".", "__").replace("-", "_"), str(value))
        with dask.config.set(_QUIET):
            yield


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

    def heal(self) -> None:
        """Put new workers where some have died, and wait until the scheduler knows all who live, and nobody else."""
        for number, worker in enumerate(self.workers):
            if worker.poll() is not None or psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED:
                worker.kill()
                worker.wait()
                self.workers[number] = self.start_worker(f"worker-{time.monotonic_ns()}")
        deadline = time.monotonic() + _START_SECONDS
        client: Any
        with Client(self.address, security=self.security, set_as_default=False) as client:
            while sorted(client.run(os.getpid, on_error="ignore").values()) != sorted(
                each.pid for each in self.workers
            ):
                assert time.monotonic() < deadline, self.output()
                time.sleep(0.02)

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


@pytest.fixture(scope="module")
def external(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExternalCluster]:
    cluster = ExternalCluster(tmp_path_factory.mktemp("external"))
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExternalCluster]:
    cluster = ExternalCluster(tmp_path_factory.mktemp("secured"), security=Security.temporary())
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def _mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ExternalCluster]]:
    """The cluster of `small`, in a list: the next one takes its place when its scheduler has died."""
    clusters: list[ExternalCluster] = []
    yield clusters
    for cluster in clusters:
        cluster.close()


@pytest.fixture
def small(_mortal: list[ExternalCluster], tmp_path_factory: pytest.TempPathFactory) -> ExternalCluster:
    """A cluster of two workers, programs that a test may kill: the next test finds others in their place."""
    if _mortal and _mortal[0].scheduler.poll() is not None:
        _mortal.pop().close()
    if not _mortal:
        _mortal.append(ExternalCluster(tmp_path_factory.mktemp("small")))
    cluster = _mortal[0]
    while len(cluster.workers) > 2:
        surplus = cluster.workers.pop()
        surplus.kill()
        surplus.wait()
    cluster.heal()
    return cluster
