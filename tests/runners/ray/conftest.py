"""One Ray for all tests of this folder: two CPUs, in processes of its own, also reached as `ray://`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

_PATIENCE_SECONDS = 170


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder: they start a Ray of some 760 MB, and are run by a command of their own."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.ray)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def processes_with(text: str) -> list[psutil.Process]:
    """Return the processes that have `text` in their command line; Ray's have their session's folder there."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(text in part for part in process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=20)


@dataclass(frozen=True)
class RayCluster:
    address: str
    client_address: str


def ray_environment() -> dict[str, str]:
    # Compiled modules are kept: Ray starts many processes, and gives up when they take long to come up.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return environment | {
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_agent_register_timeout_ms": "200000",
        "RAY_raylet_start_wait_time_s": "160",
        # The server for clients starts processes while its threads use grpc: with grpc's own care for that it hangs.
        "GRPC_ENABLE_FORK_SUPPORT": "0",
    }


def start_node(folder: str, *options: str) -> subprocess.Popen[bytes]:
    """Start a node of Ray; returns when it is up."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats", *options]
    log = Path(folder, f"node-{time.monotonic_ns()}.log")
    with log.open("wb") as output:
        node = subprocess.Popen(command, env=ray_environment(), stdout=output, stderr=output, start_new_session=True)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while "Ray runtime started" not in log.read_text():
        assert node.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return node


@contextlib.contextmanager
def running_cluster() -> Generator[RayCluster]:
    # A short path: Ray's sockets are in it, and their names may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="fy-ray-", ignore_cleanup_errors=True) as folder:
        port, client_port = free_port(), free_port()
        try:
            node = start_node(
                folder,
                "--head",
                "--num-cpus=2",
                f"--port={port}",
                f"--ray-client-server-port={client_port}",
                "--min-worker-port=0",
                "--max-worker-port=0",
                "--include-dashboard=false",
                f"--temp-dir={folder}",
                f"--object-store-memory={300 * 1024 * 1024}",
                "--node-ip-address=127.0.0.1",
            )
            yield RayCluster(f"127.0.0.1:{port}", f"ray://127.0.0.1:{client_port}")
            node.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                node.wait(15)
        finally:
            end(processes_with(folder))


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A cluster of one node with two CPUs that lives as long as the tests."""
    before = dict(os.environ)
    os.environ["RAY_AUTH_MODE"] = "disabled"
    given = os.environ.get("FLOWYARD_TEST_RAY")
    try:
        if given:
            # `host:port,ray://host:port` of a cluster with two CPUs that is there already.
            yield RayCluster(*given.split(","))
        else:
            with running_cluster() as cluster:
                yield cluster
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def ray_tools() -> SimpleNamespace:
    """What tests need that start a Ray of their own."""
    return SimpleNamespace(
        end=end,
        environment=ray_environment,
        processes_with=processes_with,
        running_cluster=running_cluster,
        start_node=start_node,
    )


def connected(address: str) -> Iterator[str]:
    import ray

    for attempts_left in (2, 1, 0):
        try:
            ray.init(address, namespace="flowyard-tests", log_to_driver=False)
        except ConnectionError:  # Ray gives the server of a client 30 s to start
            if not attempts_left:
                raise
        else:
            break
    try:
        yield address
    finally:
        ray.shutdown()


@pytest.fixture(scope="module")
def ray_driver(ray_cluster: RayCluster) -> Iterator[str]:
    """This process as a driver of the cluster: what a flow on a node of it is."""
    yield from connected(ray_cluster.address)


@pytest.fixture(scope="module")
def ray_client(ray_cluster: RayCluster) -> Iterator[str]:
    """This process as a client of the cluster, from outside."""
    yield from connected(ray_cluster.client_address)
