"""A server on a thread of this process, for tests of what speaks to one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager

import httpx
import uvicorn
from fastapi import FastAPI

DEADLINE = 90.0
"""Seconds that starting, stopping and one request may take."""


class RunningServer:
    """An application behind uvicorn on a free port of the loopback interface. Made by `serving`."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._uvicorn = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
        self._thread = threading.Thread(target=self._uvicorn.run, kwargs={"sockets": [self._socket]})

    def start(self) -> None:
        """Start, and wait for the first answer."""
        self._thread.start()
        # The socket listens already: the request waits until the application has started.
        httpx.get(f"{self.address}/api/health", timeout=DEADLINE).raise_for_status()

    def stop(self) -> None:
        """Stop, and wait for the end."""
        self._uvicorn.should_exit = True
        self._thread.join(DEADLINE)
        self._socket.close()
        if self._thread.is_alive():
            raise TimeoutError(f"the server has not ended within {DEADLINE:g} seconds")


@contextmanager
def serving(app: FastAPI) -> Generator[RunningServer]:
    """Serve an application for the block."""
    server = RunningServer(app)
    server.start()
    try:
        yield server
    finally:
        server.stop()
