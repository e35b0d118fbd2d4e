"""The routes that count runs, and those that show how they hang together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def flow_id(api: httpx.Client) -> str:
    return api.post("/flows/", json={"name": "etl"}).json()["id"]


def scheduled(api: httpx.Client, flow_id: str, hours: float) -> dict[str, Any]:
    details = {"scheduled_time": (START + timedelta(hours=hours)).isoformat()}
    state = {"type": "SCHEDULED", "state_details": details}
    return api.post("/flow_runs/", json={"flow_id": flow_id, "state": state}).json()


def test_a_history_counts_runs_by_interval_and_state(api: httpx.Client, flow_id: str) -> None:
    for hours in (0, 0.5, 1.0, 2.5, 3.0):
        scheduled(api, flow_id, hours)
    body = {
        "history_start": START.isoformat(),
        "history_end": (START + timedelta(hours=3)).isoformat(),
        "history_interval_seconds": 3600,
    }
    history = api.post("/flow_runs/history", json=body).json()
    assert [[state["count_runs"] for state in one["states"]] for one in history] == [[2], [1], [1]]
    assert history[1]["interval_start"] == "2026-01-01T01:00:00+00:00"
    first = history[0]["states"][0]
    assert (first["state_type"], first["state_name"], first["sum_estimated_run_time"]) == ("SCHEDULED", "Scheduled", 0)
    late = (datetime.now(UTC) - START).total_seconds() * 2 - 1800
    assert first["sum_estimated_lateness"] == pytest.approx(late, abs=60)
    where = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
    assert all(one["states"] == [] for one in api.post("/flow_runs/history", json={**body, **where}).json())

    assert api.post("/task_runs/history", json=body).json() == [{**one, "states": []} for one in history]
    assert api.post("/flow_runs/history", json={**body, "history_interval_seconds": 0.1}).status_code == 422
    assert api.post("/flow_runs/history", json={**body, "history_interval_seconds": 1}).status_code == 422

    lateness = api.post("/flow_runs/lateness", json={}).json()
    assert lateness == pytest.approx((datetime.now(UTC) - START).total_seconds() - 7 * 3600 / 5, abs=60)
    assert api.post("/flow_runs/lateness", json=where).json() is None
    points = api.post("/ui/flow_runs/history", json={"limit": 2}).json()
    assert [point["timestamp"] for point in points] == ["2026-01-01T03:00:00+00:00", "2026-01-01T02:30:00+00:00"]
    assert set(points[0]) == {"id", "state_type", "timestamp", "duration", "lateness"}
    rest = api.post("/ui/flow_runs/history", json={"after": points[1]["id"]}).json()
    assert len(rest) == 3
    counts = api.post("/flow_runs/count-by-state", json={}).json()
    assert counts == [{"state_type": "SCHEDULED", "state_name": "Scheduled", "count": 5}]


def test_task_runs_are_counted_by_state_by_task_and_over_time(api: httpx.Client, flow_id: str) -> None:
    running = {"flow_id": flow_id, "state": {"type": "RUNNING"}}
    run = api.post("/flow_runs/", json=running).json()["id"]
    for number, end in enumerate(["COMPLETED", "FAILED", "CRASHED", None]):
        body = {"flow_run_id": run, "task_key": "load-0a1b2c3d", "dynamic_key": f"{number}", "name": f"load-{number}"}
        made = api.post("/task_runs/", json=body).json()["id"]
        for kind in ("RUNNING", end) if end else ():
            api.post(f"/task_runs/{made}/set_state", json={"state": {"type": kind}})
    expected = {"COMPLETED": 1, "FAILED": 1, "CRASHED": 1, "PENDING": 1}
    for where in ({"flow_runs": {"id": {"any_": [run]}}}, {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}):
        counts = api.post("/ui/task_runs/count", json=where).json()
        assert {kind: number for kind, number in counts.items() if number} == expected
    by_task = api.post("/task_runs/count-by-task", json={"flow_run_id": run}).json()
    assert {(one["task_name"], one["state_name"]): one["count"] for one in by_task} == {
        ("load", name.capitalize()): 1 for name in expected
    }

    body = {"task_runs": {"start_time": {"after_": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}}}
    buckets = api.post("/ui/task_runs/dashboard/counts", json=body).json()
    assert len(buckets) == 20
    assert (sum(one["completed"] for one in buckets), sum(one["failed"] for one in buckets)) == (1, 2)
    assert api.post("/ui/task_runs/dashboard/counts", json={"task_runs": {}}).status_code == 422


def test_the_graph_of_a_flow_run_has_its_task_runs_and_its_subflow_runs(api: httpx.Client, flow_id: str) -> None:
    run = api.post("/flow_runs/", json={"flow_id": flow_id, "state": {"type": "RUNNING"}}).json()["id"]
    assert api.get(f"/flow_runs/{run}/graph-v2").json()["nodes"] == []

    def task(name: str, *upstream: str) -> str:
        inputs = {"x": [{"input_type": "task_run", "id": one} for one in upstream]}
        body = {"flow_run_id": run, "task_key": name, "dynamic_key": "0", "name": name, "task_inputs": inputs}
        made = api.post("/task_runs/", json=body).json()["id"]
        api.post(f"/task_runs/{made}/set_state", json={"state": {"type": "RUNNING"}})
        api.post(f"/task_runs/{made}/set_state", json={"state": {"type": "COMPLETED"}})
        return made

    first = task("first")
    mirror = task("child", first, first)
    child = api.post("/flow_runs/", json={"flow_id": flow_id, "parent_task_run_id": mirror, "name": "sub"}).json()["id"]
    api.post(f"/flow_runs/{child}/set_state", json={"state": {"type": "COMPLETED"}})
    last = task("last", mirror)
    artifact = api.post(
        "/artifacts/", json={"key": "report", "type": "markdown", "data": "x", "flow_run_id": run, "task_run_id": last}
    ).json()["id"]

    graph = api.get(f"/flow_runs/{run}/graph-v2").json()
    nodes = dict(graph["nodes"])
    assert [(node["kind"], node["label"]) for node in nodes.values()] == [
        ("task-run", "first"),
        ("flow-run", "etl / sub"),
        ("task-run", "last"),
    ]
    assert graph["root_node_ids"] == [first]
    assert (nodes[first]["children"], nodes[child]["parents"]) == ([{"id": child}], [{"id": first}])
    assert nodes[last]["parents"] == [{"id": child}]
    assert [(one["id"], one["is_latest"]) for one in nodes[last]["artifacts"]] == [(artifact, True)]
    assert [state["type"] for state in graph["states"]] == ["RUNNING"]
    later = api.get(f"/flow_runs/{run}/graph-v2", params={"since": "2100-01-01T00:00:00Z"}).json()
    assert later["nodes"] == []

    found = api.get(f"/flow_runs/{run}/graph").json()
    assert [(one["name"], [two["id"] for two in one["upstream_dependencies"]]) for one in found] == [
        ("first", []),
        ("child", [first]),
        ("last", [mirror]),
    ]
    nothing = "00000000-0000-4000-8000-000000000000"
    assert api.get(f"/flow_runs/{nothing}/graph").status_code == 404
    assert list(api.get(f"/flow_runs/{nothing}/graph-v2").json()) == ["exception_message"]
