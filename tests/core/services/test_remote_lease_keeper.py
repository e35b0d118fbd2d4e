from __future__ import annotations

import http.server
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowyard.services.remote_lease_keeper import RemoteLeaseKeeper
from flowyard.settings import Settings


class Server:
    """Keeps what it is sent: the path, the authorization and the body."""

    def __init__(self) -> None:
        self.requests: queue.Queue[tuple[str, str | None, bytes]] = queue.Queue()
        requests = self.requests

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                requests.put((self.path, self.headers["Authorization"], body))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/renew"


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


def test_a_keeper_renews_at_the_server_with_the_key_of_its_process(server: Server, tmp_path: Path) -> None:
    settings = Settings.from_env({"FLOWYARD_HOME": str(tmp_path), "FLOWYARD_API_KEY": "hunter2"})
    keeper = RemoteLeaseKeeper(settings, server.url, b"mine")
    keeper.start()
    try:
        assert server.requests.get(timeout=90) == ("/renew", "Bearer hunter2", b"mine")
        process = keeper._process
        assert process is not None
        command_line = subprocess.run(["ps", "-o", "args=", "-p", str(process.pid)], capture_output=True, text=True)
        assert command_line.stdout.strip().endswith("remote_lease_keeper")
    finally:
        keeper.stop()
    assert process.poll() is not None


def test_a_keeper_of_a_server_that_is_away_ends_with_its_parent(tmp_path: Path) -> None:
    code = (
        "import sys; from flowyard.services.remote_lease_keeper import RemoteLeaseKeeper;"
        "from flowyard.settings import Settings;"
        "keeper = RemoteLeaseKeeper(Settings.from_env({'FLOWYARD_HOME': sys.argv[1]}), 'http://127.0.0.1:9', b'');"
        "keeper.start(); print(keeper._process.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    assert int(parent.stdout.readline()) != parent.pid
    parent.kill()
    # The child inherited the standard error: it is read to its end only when that has ended too.
    parent.communicate(timeout=90)
