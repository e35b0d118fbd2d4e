"""A server whose database is on a disk that gets full: what was acknowledged stays, and room is all it needs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowyard.settings import Settings
from flowyard.testing.servers import DEADLINE, RunningServer

MOST = 2_000


def test_a_server_on_a_full_disk_refuses_writes_reads_on_and_writes_again_when_there_is_room(
    mount_disk: Callable[[int], Path],
    home: Path,
    serve: Callable[[Settings], RunningServer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = mount_disk(10_000)
    settings = Settings.from_env(
        {
            "FLOWYARD_HOME": str(home),
            "FLOWYARD_API_DATABASE_CONNECTION_URL": f"sqlite:///{disk / 'server.db'}",
            "FLOWYARD_JOURNAL_GIVE_UP_SECONDS": "0.1",
        }
    )
    server = serve(settings)
    with httpx.Client(base_url=f"{server.address}/api", timeout=DEADLINE, verify=False) as api:
        flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]

        def create() -> httpx.Response:
            parameters = {"padding": os.urandom(10_000).hex()}
            return api.post("/flow_runs/", json={"flow_id": flow_id, "parameters": parameters})

        ballast = disk / "ballast"
        ballast.write_bytes(bytes(4_000_000))
        acknowledged: list[str] = []
        refused = create()
        while refused.status_code == 201 and len(acknowledged) < MOST:
            acknowledged.append(refused.json()["id"])
            with caplog.at_level(logging.WARNING):
                refused = create()

        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert "full" in caplog.text
        assert "make room on the disk" in caplog.text
        assert ids_of(api) == sorted(acknowledged)
        assert api.get(f"/flow_runs/{acknowledged[-1]}").status_code == 200

        ballast.unlink()
        deadline = time.monotonic() + DEADLINE
        while (answer := create()).status_code != 201:
            assert answer.status_code == 503
            assert time.monotonic() < deadline
        assert ids_of(api) == sorted([*acknowledged, answer.json()["id"]])


def ids_of(api: httpx.Client) -> list[str]:
    found: list[dict[str, Any]] = []
    while page := api.post("/flow_runs/filter", json={"limit": 50, "offset": len(found)}).raise_for_status().json():
        found += page
    return sorted(run["id"] for run in found)
