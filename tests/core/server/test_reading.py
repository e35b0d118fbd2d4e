"""Reading at scale: long lists in filters, and reads beside changes."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from flowyard.local.backend import LocalBackend
from flowyard.testing.servers import DEADLINE

MANY = [str(UUID(int=number)) for number in range(10_001)]
NAMES = [f"name-{number}" for number in range(10_001)]


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("flows", {"flows": {"id": {"any_": MANY}}}),
        ("flow_runs", {"flow_runs": {"id": {"any_": MANY}}}),
        ("flow_runs", {"flow_runs": {"id": {"not_any_": MANY}}}),
        ("flow_runs", {"flow_runs": {"tags": {"all_": NAMES}}}),
        ("flow_runs", {"flow_runs": {"parent_flow_run_id": {"any_": MANY}}}),
        ("task_runs", {"task_runs": {"flow_run_id": {"any_": MANY}}}),
        ("task_runs", {"flow_runs": {"id": {"any_": MANY}}}),
        ("logs", {"logs": {"flow_run_id": {"any_": MANY}}}),
        ("artifacts", {"artifacts": {"key": {"any_": NAMES}}}),
        ("variables", {"variables": {"name": {"any_": NAMES}}}),
        ("deployments", {"deployments": {"work_queue_name": {"any_": NAMES}}}),
        ("events", {"filter": {"event": {"exclude_name": NAMES}}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(str(value).split("'")[1:6:2]),
)
def test_a_list_of_a_filter_that_is_too_long_is_refused(api: httpx.Client, path: str, where: dict[str, Any]) -> None:
    refused = api.post(f"/{path}/filter", json=where)
    assert refused.status_code == 422, refused.text[:500]
    assert "10001 values; at most 10000" in refused.json()["detail"]


def test_lists_that_are_too_long_together_are_refused_or_looked_for(api: httpx.Client) -> None:
    some = [str(uuid4()) for _ in range(9_000)]
    names = [f"name-{number}" for number in range(9_000)]
    where = {
        "id": {"any_": some, "not_any_": some},
        "deployment_id": {"any_": some},
        "name": {"any_": names},
        "flow_version": {"any_": names},
        "idempotency_key": {"any_": names, "not_any_": names},
        "work_queue_name": {"any_": names},
    }
    assert api.post("/flow_runs/filter", json={"flow_runs": {"id": where["id"]}}).json() == []
    answer = api.post("/flow_runs/filter", json={"flow_runs": where})
    # 72,000 values: PostgreSQL takes 65,535, and SQLite what it was built for.
    if answer.status_code == 200:
        assert answer.json() == []
    else:
        assert answer.status_code == 422
        assert "the database cannot take a value" in answer.json()["detail"]


def test_a_filter_of_a_million_ids_is_refused(api: httpx.Client) -> None:
    where = {"flow_runs": {"id": {"any_": [str(UUID(int=number)) for number in range(1_000_000)]}}}
    refused = api.post("/flow_runs/filter", json=where)
    assert refused.status_code == 413
    assert "bytes" in refused.text


def test_a_read_does_not_wait_for_the_changes_of_others(api: httpx.Client, behind: LocalBackend) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def change(_: object) -> None:
        begun.set()
        assert may_end.wait(DEADLINE)

    thread = threading.Thread(target=behind.journal.perform, args=(change,))
    thread.start()
    try:
        assert begun.wait(DEADLINE)
        assert api.post("/flow_runs/filter", json={}, timeout=DEADLINE / 2).json() == []
    finally:
        may_end.set()
        thread.join()
