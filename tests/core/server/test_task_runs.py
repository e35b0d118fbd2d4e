"""The routes of task runs: made, read, listed, renamed, deleted."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest


@pytest.fixture
def flow_run_id(api: httpx.Client) -> str:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    return api.post("/flow_runs/", json={"flow_id": flow_id, "state": {"type": "RUNNING"}}).json()["id"]


def make(api: httpx.Client, flow_run_id: str | None, dynamic_key: str = "0", **body: Any) -> dict[str, Any]:
    keys = {"flow_run_id": flow_run_id, "task_key": "load-0a1b2c3d", "dynamic_key": dynamic_key}
    answer = api.post("/task_runs/", json={**keys, "name": f"load-{dynamic_key}", **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_a_task_run_keeps_what_it_was_made_with(api: httpx.Client, flow_run_id: str) -> None:
    upstream = str(uuid4())
    inputs = {"x": [{"input_type": "task_run", "id": upstream}], "y": [{"input_type": "constant", "type": "int"}]}
    policy = {"retries": 2, "retry_delay": [1, 2], "retry_jitter_factor": 0.5}
    made = make(api, flow_run_id, tags=["a"], task_inputs=inputs, empirical_policy=policy, task_version="1")

    assert (made["state_type"], made["name"], made["tags"], made["task_version"]) == ("PENDING", "load-0", ["a"], "1")
    assert made["task_inputs"] == inputs
    assert {name: made["empirical_policy"][name] for name in policy} == policy
    assert made["state"]["state_details"]["task_run_id"] == made["id"]
    read = api.get(f"/task_runs/{made['id']}").json()
    assert {**read, "estimated_start_time_delta": 0} == {**made, "estimated_start_time_delta": 0}


def test_a_task_run_with_the_keys_of_another_is_the_other(api: httpx.Client, flow_run_id: str) -> None:
    made = make(api, flow_run_id)
    keys = {"flow_run_id": flow_run_id, "task_key": "load-0a1b2c3d", "dynamic_key": "0"}
    again = api.post("/task_runs/", json=keys)
    assert (again.status_code, again.json()["id"], again.json()["name"]) == (200, made["id"], "load-0")
    assert make(api, None, "0")["id"] != make(api, None, "0")["id"]


def test_what_cannot_be_made_is_refused(api: httpx.Client, flow_run_id: str) -> None:
    keys = {"task_key": "t", "dynamic_key": "0"}
    assert api.post("/task_runs/", json={**keys, "flow_run_id": str(uuid4())}).status_code == 409
    assert (
        api.post("/task_runs/", json={**keys, "flow_run_id": flow_run_id, "cache_key": "x" * 2001}).status_code == 422
    )
    made = make(api, flow_run_id)
    assert api.post("/task_runs/", json={**keys, "id": made["id"]}).status_code == 409


def test_task_runs_are_filtered_sorted_and_paged(api: httpx.Client, flow_run_id: str) -> None:
    first = make(api, flow_run_id, "0", tags=["a"])
    make(api, flow_run_id, "1", state={"type": "COMPLETED", "name": "Cached"})
    make(api, None, "2")

    def found(**body: object) -> list[str]:
        answer = api.post("/task_runs/filter", json={"sort": "NAME_ASC", **body})
        assert answer.status_code == 200, answer.text
        return [run["name"] for run in answer.json()]

    assert found() == ["load-0", "load-1", "load-2"]
    assert found(task_runs={"tags": {"all_": ["a"]}}) == ["load-0"]
    assert found(task_runs={"state": {"name": {"any_": ["Cached"]}}}) == ["load-1"]
    assert found(task_runs={"flow_run_id": {"is_null_": True}}) == ["load-2"]
    assert found(task_runs={"flow_run_id": {"any_": [flow_run_id]}}, sort="NAME_DESC") == ["load-1", "load-0"]
    assert found(task_runs={"subflow_runs": {"exists_": True}}) == []
    assert found(flow_runs={"id": {"any_": [flow_run_id]}}, limit=1, offset=1) == ["load-1"]
    assert found(flows={"name": {"any_": ["etl"]}}, after=first["id"]) == ["load-1"]
    assert api.post("/task_runs/count", json={"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}).json() == 2
    runs = api.post("/flow_runs/filter", json={"task_runs": {"name": {"any_": ["load-1"]}}}).json()
    assert [run["id"] for run in runs] == [flow_run_id]


def test_a_task_run_is_renamed_and_deleted(api: httpx.Client, flow_run_id: str) -> None:
    made = make(api, flow_run_id)
    assert api.patch(f"/task_runs/{made['id']}", json={"name": "new"}).status_code == 204
    assert api.get(f"/task_runs/{made['id']}").json()["name"] == "new"
    assert api.delete(f"/task_runs/{made['id']}").status_code == 204
    assert api.delete(f"/task_runs/{made['id']}").status_code == 404
    assert make(api, flow_run_id)["id"] != made["id"]


@pytest.mark.parametrize("sort", ["EXPECTED_START_TIME_ASC", "EXPECTED_START_TIME_DESC"])
def test_the_task_runs_of_a_flow_run_are_the_same_however_they_are_looked_for(api: httpx.Client, sort: str) -> None:
    flow = api.post("/flows/", json={"name": "flow"}).json()["id"]
    of_runs = [api.post("/flow_runs/", json={"flow_id": flow}).json()["id"] for _ in range(2)]
    kinds: list[dict[str, Any] | None] = [None, {"type": "COMPLETED"}, {"type": "FAILED"}, {"type": "RUNNING"}]
    kinds += [
        {"type": "SCHEDULED", "state_details": {"scheduled_time": f"2026-01-0{day}T00:00:00Z"}} for day in (1, 1, 2)
    ]
    for number in range(28):
        body = {"task_key": "t", "dynamic_key": f"{number}", "flow_run_id": of_runs[number % 9 == 0]}
        api.post("/task_runs/", json={**body, "state": kinds[number % 7]}).raise_for_status()

    def listed(**body: Any) -> list[str]:
        own = {"flow_runs": {"id": {"any_": of_runs[:1]}}, "sort": sort}
        return [run["id"] for run in api.post("/task_runs/filter", json={**own, **body}).json()]

    # A filter that takes all of them.
    whole = listed(task_runs={"name": {"like_": ""}})
    assert len(whole) == 24
    assert listed() == whole
    assert listed(limit=7, offset=5) == whole[5:12]
    pages: list[str] = []
    while found := listed(limit=5, after=pages[-1] if pages else None):
        pages += found
    assert pages == whole
