from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from flowyard.blocks.fields import SecretDict
from flowyard.blocks.webhook import Webhook


class Listener(http.server.BaseHTTPRequestHandler):
    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        seen: list[Any] = self.server.seen  # pyright: ignore[reportAttributeAccessIssue]
        seen.append((self.command, self.path, self.headers["X-Key"], body))
        self.send_response(418)
        self.end_headers()

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Any]:
    server: Any = http.server.HTTPServer(("127.0.0.1", 0), Listener)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def hook(server: Any, **options: Any) -> Webhook:
    return Webhook(url=SecretStr(f"http://127.0.0.1:{server.server_port}/hook?key=hunter2"), **options)


def test_a_saved_webhook_is_called_with_payload_and_headers(server: Any) -> None:
    hook(server, headers=SecretDict({"X-Key": "k"})).save("h")
    loaded = Webhook.load("h")
    assert "hunter2" not in repr(loaded)
    assert asyncio.run(loaded.call({"a": [1]})).status_code == 418
    method, path, key, body = server.seen[0]
    assert (method, path, key, json.loads(body)) == ("POST", "/hook?key=hunter2", "k", {"a": [1]})


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_the_method_can_be_chosen(server: Any, method: str) -> None:
    asyncio.run(hook(server, method=method).call())
    assert server.seen == [(method, "/hook?key=hunter2", None, b"")]


def test_private_addresses_can_be_refused(server: Any) -> None:
    with pytest.raises(ValueError, match=r"'127\.0\.0\.1' has the private address") as caught:
        asyncio.run(hook(server, allow_private_urls=False).call())
    assert server.seen == []
    assert "hunter2" not in str(caught.value)
