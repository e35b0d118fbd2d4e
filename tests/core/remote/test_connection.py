"""Requests that are sent again, and what is said when no answer comes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flowyard.exceptions import BackendUnavailable, ServerAway
from flowyard.remote.connection import Connection, compressed, decompressed
from flowyard.settings import Settings


class Server:
    """Answers with statuses in turn; the last one again and again."""

    def __init__(self) -> None:
        self.statuses: list[int] = [200]
        self.kind: str | None = None
        self.requests: list[dict[str, Any]] = []
        self.url = ""


@pytest.fixture
def server() -> Iterator[Server]:
    service = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            service.requests.append({"path": self.path, "body": body, "headers": dict(self.headers)})
            status = service.statuses[min(len(service.requests), len(service.statuses)) - 1]
            self.send_response(status)
            if status == 503:
                self.send_header("Retry-After", "0")
            kind = "application/json" if self.path == "/api/journal" or status != 200 else "application/msgpack"
            self.send_header("Content-Type", service.kind or kind)
            if status == 302:
                self.send_header("Location", "https://flows.example/api/journal")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        service.url = f"http://127.0.0.1:{http.server_address[1]}/api"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield service
        http.shutdown()
        thread.join()


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    settings = {"FLOWYARD_API_URL": server.url, "FLOWYARD_API_KEY": "fy_key", "FLOWYARD_CLIENT_MAX_RETRIES": "3"}
    opened = Connection(Settings.from_env(settings))
    yield opened
    opened.close()


def test_a_request_is_sent_again_when_the_server_says_so(server: Server, connection: Connection) -> None:
    server.statuses = [503, 429, 200]
    assert connection.ask("/control/runs/forks", b"body") == b"ok"
    assert [request["path"] for request in server.requests] == ["/api/control/runs/forks"] * 3
    assert {request["headers"]["Authorization"] for request in server.requests} == {"Bearer fy_key"}


def test_a_request_is_not_sent_again_for_ever(server: Server, connection: Connection) -> None:
    server.statuses = [503]
    with pytest.raises(ServerAway, match="503"):
        connection.ask("/journal", b"body")
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (302, "https://flows.example"),
        (401, "FLOWYARD_API_KEY"),
        (403, "FLOWYARD_API_KEY"),
        (404, "no Flowyard server"),
        (413, "FLOWYARD_SERVER_API_MAX_BODY_BYTES"),
        (422, "422"),
    ],
)
def test_what_would_be_answered_in_the_same_way_is_asked_once(
    server: Server, connection: Connection, status: int, says: str
) -> None:
    server.statuses = [status]
    with pytest.raises(BackendUnavailable, match=says) as caught:
        connection.ask("/journal", b"body")
    assert len(server.requests) == 1
    assert "fy_key" not in str(caught.value)


@pytest.mark.parametrize("status", [200, 400, 422])
@pytest.mark.parametrize("path", ["/journal", "/control/runs/forks"])
def test_a_page_of_a_proxy_is_no_answer(server: Server, connection: Connection, status: int, path: str) -> None:
    server.statuses, server.kind = [status], "text/html; charset=utf-8"
    with pytest.raises(ServerAway, match=f"{status}.* with text/html, which is no answer of a Flowyard server"):
        connection.ask(path, b"body")
    assert len(server.requests) == 1
    assert not connection.has_answered


def test_large_bodies_travel_compressed(server: Server, connection: Connection) -> None:
    body = b"flow" * 1000
    connection.send("/journal", compressed(body))
    [request] = server.requests
    assert len(request["body"]) < 200
    assert request["headers"]["Content-Encoding"] == "gzip"
    assert decompressed(request["body"]) == body


def test_an_address_that_is_none_is_an_error_that_names_it() -> None:
    opened = Connection(
        Settings.from_env({"FLOWYARD_API_URL": "flows.example/api", "FLOWYARD_CLIENT_MAX_RETRIES": "0"})
    )
    with pytest.raises(BackendUnavailable, match="'flows.example/api'"):
        opened.ask("/journal", b"")
    opened.close()
