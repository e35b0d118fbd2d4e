"""A server on SQLite and one on PostgreSQL, listening on the loopback interface, and a client of it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from flowyard.server.app import create_app
from flowyard.settings import Settings

DEADLINE = 20.0


class RunningServer:
    """An application behind uvicorn on a thread of this process."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._uvicorn = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
        self._thread = threading.Thread(target=self._uvicorn.run, kwargs={"sockets": [self._socket]})

    def start(self) -> None:
        self._thread.start()
        with httpx.Client(base_url=self.address, timeout=DEADLINE) as client:
            # The socket listens already: the request waits until the application has started.
            assert client.get("/api/health").status_code == 200

    def stop(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        self._socket.close()


@contextlib.contextmanager
def serving(app: FastAPI) -> Generator[RunningServer]:
    """Serve an application for the block."""
    server = RunningServer(app)
    server.start()
    try:
        yield server
    finally:
        server.stop()


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


@pytest.fixture
def server(serve: Callable[[Settings], RunningServer], settings: Settings) -> RunningServer:
    return serve(settings)


@pytest.fixture
def api(server: RunningServer) -> Iterator[httpx.Client]:
    """A client whose paths are relative to `/api`."""
    with httpx.Client(base_url=f"{server.address}/api", timeout=DEADLINE, follow_redirects=True) as client:
        yield client
