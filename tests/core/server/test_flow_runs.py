"""The routes of flow runs: made, read, listed, changed, deleted."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest


@pytest.fixture
def flow_id(api: httpx.Client) -> str:
    return api.post("/flows/", json={"name": "etl"}).json()["id"]


def make(api: httpx.Client, flow_id: str, **body: Any) -> dict[str, Any]:
    answer = api.post("/flow_runs/", json={"flow_id": flow_id, **body})
    assert answer.status_code == 201, answer.text
    return answer.json()


def names(api: httpx.Client, **body: object) -> list[str]:
    answer = api.post("/flow_runs/filter", json=body)
    assert answer.status_code == 200, answer.text
    return [run["name"] for run in answer.json()]


def test_a_flow_run_is_pending_and_has_a_name_when_nothing_is_said(api: httpx.Client, flow_id: str) -> None:
    made = make(api, flow_id)

    assert (made["state_type"], made["state"]["name"]) == ("PENDING", "Pending")
    assert made["state_id"] == made["state"]["id"]
    assert made["state"]["state_details"]["flow_run_id"] == made["id"]
    assert made["expected_start_time"] == made["state"]["timestamp"]
    assert len(made["name"].split("-")) == 2
    assert (made["auto_scheduled"], made["work_pool_name"], made["total_run_time"]) == (False, None, 0.0)
    assert api.get(f"/flow_runs/{made['id']}").json() == {
        **made,
        "estimated_start_time_delta": pytest.approx(0, abs=20),
    }


def test_a_flow_run_keeps_what_it_was_made_with(api: httpx.Client, flow_id: str) -> None:
    given = {
        "name": "one",
        "flow_version": "v1",
        "parameters": {"x": [1, {"y": None}]},
        "context": {"who": "me"},
        "tags": ["a", "b"],
        "idempotency_key": "k",
        "infrastructure_document_id": str(uuid4()),
    }
    state = {"type": "SCHEDULED", "message": "m", "state_details": {"scheduled_time": "2030-01-01T00:00:00+01:00"}}
    made = make(api, flow_id, **given, state=state, empirical_policy={"retries": 3, "retry_delay": 10})

    assert {name: made[name] for name in given} == given
    assert made["next_scheduled_start_time"] == made["expected_start_time"] == "2029-12-31T23:00:00+00:00"
    assert (made["empirical_policy"]["retries"], made["empirical_policy"]["retry_delay"]) == (3, 10)
    assert made["estimated_start_time_delta"] == 0.0


def test_a_run_with_the_idempotency_key_of_another_is_the_other(api: httpx.Client, flow_id: str) -> None:
    made = make(api, flow_id, idempotency_key="once", name="first")
    again = api.post("/flow_runs/", json={"flow_id": flow_id, "idempotency_key": "once", "name": "second"})
    assert (again.status_code, again.json()["id"], again.json()["name"]) == (200, made["id"], "first")

    other = api.post("/flows/", json={"name": "other"}).json()["id"]
    assert make(api, other, idempotency_key="once")["id"] != made["id"]


def test_a_run_of_a_flow_that_is_not_there_is_refused(api: httpx.Client) -> None:
    answer = api.post("/flow_runs/", json={"flow_id": str(uuid4())})
    assert (answer.status_code, "flow" in answer.json()["detail"]) == (409, True)


def test_flow_runs_are_filtered(api: httpx.Client, flow_id: str) -> None:
    other = api.post("/flows/", json={"name": "other", "tags": ["t"]}).json()["id"]
    running = {"type": "RUNNING"}
    late = {"type": "SCHEDULED", "name": "Late", "state_details": {"scheduled_time": "2020-01-01T00:00:00+00:00"}}
    first = make(api, flow_id, name="first", tags=["a", "b"], state=running, flow_version="1")
    make(api, flow_id, name="second", tags=["a"], state=late, deployment_id=str(uuid4()))
    make(api, other, name="third", idempotency_key="k")

    def found(**where: object) -> list[str]:
        return names(api, sort="NAME_ASC", flow_runs=where)

    assert found() == ["first", "second", "third"]
    assert found(id={"any_": [first["id"]]}) == ["first"]
    assert found(id={"not_any_": [first["id"]]}) == ["second", "third"]
    assert found(name={"like_": "IR"}) == ["first", "third"]
    assert found(tags={"all_": ["a", "b"]}) == ["first"]
    assert found(tags={"is_null_": True}) == ["third"]
    assert found(state={"type": {"any_": ["RUNNING", "PENDING"]}}) == ["first", "third"]
    assert found(state={"operator": "or_", "type": {"any_": ["RUNNING"]}, "name": {"any_": ["Late"]}}) == [
        "first",
        "second",
    ]
    assert found(operator="or_", name={"any_": ["third"]}, flow_version={"any_": ["1"]}) == ["first", "third"]
    assert found(deployment_id={"is_null_": False}) == ["second"]
    assert found(start_time={"is_null_": False}) == ["first"]
    assert found(expected_start_time={"before_": "2020-01-01T00:00:00Z"}) == ["second"]
    assert found(next_scheduled_start_time={"after_": "2019-01-01T00:00:00Z"}) == ["second"]
    assert found(idempotency_key={"any_": ["k"]}) == ["third"]
    assert found(work_queue_name={"is_null_": True}) == ["first", "second", "third"]
    assert names(api, flows={"tags": {"all_": ["t"]}}) == ["third"]
    assert api.post("/flow_runs/count", json={"flows": {"name": {"any_": ["etl"]}}}).json() == 2
    flows = api.post("/flows/filter", json={"flow_runs": {"tags": {"all_": ["a"]}}}).json()
    assert [flow["name"] for flow in flows] == ["etl"]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("ID_DESC", ["c", "b", "a"]),
        ("NAME_DESC", ["c", "b", "a"]),
        ("START_TIME_ASC", ["c", "b", "a"]),
        ("START_TIME_DESC", ["a", "b", "c"]),
        ("EXPECTED_START_TIME_ASC", ["c", "b", "a"]),
        ("NEXT_SCHEDULED_START_TIME_ASC", ["c", "b", "a"]),
        ("END_TIME_DESC", ["c", "b", "a"]),
    ],
)
def test_flow_runs_are_sorted_and_paged_with_offsets_and_after_a_run(
    api: httpx.Client, flow_id: str, sort: str, expected: list[str]
) -> None:
    ids: dict[str, str] = {}
    for name, year in [("a", None), ("b", 2025), ("c", 2020)]:
        details = {"scheduled_time": f"{year}-01-01T00:00:00Z"} if year else {}
        state = {"type": "SCHEDULED" if year else "PENDING", "state_details": details}
        ids[name] = make(api, flow_id, name=name, state=state)["id"]

    assert names(api, sort=sort) == expected
    assert names(api, sort=sort, limit=1, offset=1) == expected[1:2]
    assert names(api, sort=sort, limit=1, after=ids[expected[0]]) == expected[1:2]
    assert names(api, sort=sort, after=ids[expected[1]]) == expected[2:]
    assert api.post("/flow_runs/filter", json={"after": str(uuid4())}).status_code == 404


def test_a_limit_above_the_most_is_refused(api: httpx.Client) -> None:
    answer = api.post("/flow_runs/filter", json={"limit": 201})
    assert (answer.status_code, "Invalid limit" in answer.json()["detail"]) == (422, True)


def test_what_is_set_of_a_flow_run_is_changed_and_nothing_else(api: httpx.Client, flow_id: str) -> None:
    made = make(api, flow_id, name="old", tags=["a"], parameters={"x": 1})
    changes = {
        "name": "new",
        "infrastructure_pid": "host:1",
        "job_variables": {"cpu": 1},
        "empirical_policy": {"retries": 2, "pause_keys": ["1"], "resuming": True},
    }
    assert api.patch(f"/flow_runs/{made['id']}", json=changes).status_code == 204

    changed = api.get(f"/flow_runs/{made['id']}").json()
    assert (changed["name"], changed["tags"], changed["parameters"]) == ("new", ["a"], {"x": 1})
    assert (changed["infrastructure_pid"], changed["job_variables"]) == ("host:1", {"cpu": 1})
    policy = changed["empirical_policy"]
    assert (policy["retries"], policy["pause_keys"], policy["resuming"]) == (2, ["1"], True)
    assert api.patch(f"/flow_runs/{uuid4()}", json={"name": "x"}).status_code == 404
    assert api.patch(f"/flow_runs/{made['id']}", json={"state": {}}).status_code == 422


def test_a_flow_run_is_deleted_with_what_it_recorded(api: httpx.Client, flow_id: str) -> None:
    made = make(api, flow_id)
    task = {"flow_run_id": made["id"], "task_key": "t", "dynamic_key": "0"}
    task_run = api.post("/task_runs/", json=task).json()

    assert api.delete(f"/flow_runs/{made['id']}").status_code == 204
    assert api.delete(f"/flow_runs/{made['id']}").status_code == 404
    assert api.get(f"/flow_runs/{made['id']}").status_code == 404
    assert api.get(f"/task_runs/{task_run['id']}").status_code == 404


def test_the_automation_that_made_a_run_is_known(api: httpx.Client, flow_id: str) -> None:
    automation = str(uuid4())
    headers = {"prefect-automation-id": automation, "prefect-automation-name": "bmlnaHRseQ=="}
    made = api.post("/flow_runs/", json={"flow_id": flow_id}, headers=headers).json()
    assert made["created_by"] == {"id": automation, "type": "AUTOMATION", "display_value": "nightly"}
