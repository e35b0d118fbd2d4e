"""A stand-in for GitHub's API."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

STARS = {"/repos/python/cpython": 67_890, "/repos/pallets/flask": 12_345}


@dataclass
class GitHub:
    """What is told about the stand-in, and what it saw."""

    failures: int
    """For each repository that many requests are answered with an error first."""
    requests: Counter[str] = field(default_factory=Counter[str])
    url: str = ""


@pytest.fixture
def github(request: pytest.FixtureRequest) -> Iterator[GitHub]:
    """Serve the stars of two repositories; fails twice first, or as often as the fixture's parameter says."""
    service = GitHub(failures=getattr(request, "param", 2))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.requests[self.path] += 1
            body: dict[str, Any] = {"stargazers_count": STARS[self.path]}
            status = 200
            if service.requests[self.path] <= service.failures:
                body, status = {"message": "try again later"}, 503
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
