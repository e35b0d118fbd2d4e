"""What the server tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from flowyard.settings import Settings
from flowyard.testing.servers import RunningServer


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'server.db'}"


@pytest.fixture
def server(serve: Callable[[Settings], RunningServer], settings: Settings) -> RunningServer:
    """A server that has answered nothing but this test's requests."""
    return serve(settings)


def test_requests_are_counted_by_route_and_status(server: RunningServer, api: httpx.Client) -> None:
    for _ in range(3):
        api.get(f"/flows/{uuid4()}")

    text = httpx.get(f"{server.address}/metrics", timeout=90).text

    assert 'flowyard_requests_total{method="GET",route="/flows/{id}",status="404"} 3.0' in text
    assert 'flowyard_request_seconds_count{method="GET",route="/flows/{id}"} 3.0' in text
