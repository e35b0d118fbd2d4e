"""A server on SQLite and one on PostgreSQL, listening on the loopback interface, and a client of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from flowyard.local.backend import LocalBackend
from flowyard.server.app import create_app
from flowyard.server.gateway import Gateway
from flowyard.settings import Settings
from flowyard.testing.servers import DEADLINE, RunningServer, serving


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of each kind, with or without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'server.db'}"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def settings(home: Path, database_url: str) -> Settings:
    """The settings of the server."""
    return Settings.from_env({"FLOWYARD_HOME": str(home), "FLOWYARD_API_DATABASE_CONNECTION_URL": database_url})


@pytest.fixture
def serve() -> Iterator[Callable[[Settings], RunningServer]]:
    """Start servers; they stop when the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda settings: stack.enter_context(serving(create_app(settings)))


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests, for to start one takes longer than a test; its own database is in memory."""
    settings = Settings.from_env({"FLOWYARD_HOME": str(tmp_path_factory.mktemp("home"))})
    with LocalBackend.in_memory() as backend, serving(create_app(settings, backend=backend)) as server:
        yield server


@pytest.fixture
def behind(
    shared_server: RunningServer, settings: Settings, database_url: str, tmp_path: Path
) -> Iterator[LocalBackend]:
    """Give the shared server a database of this test's own, of each kind; this is the backend on it."""
    before = shared_server.app.state.gateway
    with LocalBackend.open(database_url, tmp_path) as backend:
        shared_server.app.state.gateway = Gateway(backend, settings)
        yield backend
        shared_server.app.state.gateway = before


@pytest.fixture
def server(shared_server: RunningServer, behind: LocalBackend) -> RunningServer:
    """The shared server on a database of this test's own; `serve` starts one that lives by settings of its own."""
    del behind
    return shared_server


@pytest.fixture
def api(server: RunningServer) -> Iterator[httpx.Client]:
    """A client whose paths are relative to `/api`."""
    # Without certificates, which take 70 ms to load and which nobody shows here.
    base = f"{server.address}/api"
    with httpx.Client(base_url=base, timeout=DEADLINE, follow_redirects=True, verify=False) as client:
        yield client
