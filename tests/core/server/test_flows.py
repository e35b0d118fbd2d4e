"""The routes of flows."""

from __future__ import annotations

from uuid import uuid4

import httpx
import pytest


def test_a_flow_is_made_once_and_found_again(api: httpx.Client) -> None:
    made = api.post("/flows/", json={"name": "etl", "tags": ["x"]})
    again = api.post("/flows/", json={"name": "etl"})

    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json() == again.json()
    assert set(made.json()) == {"id", "created", "updated", "name", "tags"}
    assert made.json()["created"].endswith("+00:00")


def test_a_flow_is_read_by_id_and_by_name(api: httpx.Client) -> None:
    made = api.post("/flows/", json={"name": "etl"}).json()
    assert api.get(f"/flows/{made['id']}").json() == made
    assert api.get("/flows/name/etl").json() == made


def test_flows_are_filtered_sorted_and_paged(api: httpx.Client) -> None:
    for name, tags in [("b", ["x"]), ("a", ["x", "y"]), ("c", [])]:
        api.post("/flows/", json={"name": name, "tags": tags})

    def names(**body: object) -> list[str]:
        return [flow["name"] for flow in api.post("/flows/filter", json=body).json()]

    assert names() == ["a", "b", "c"]
    assert names(sort="NAME_DESC", limit=2, offset=1) == ["b", "a"]
    assert names(flows={"tags": {"all_": ["x"]}}) == ["a", "b"]
    assert names(flows={"tags": {"is_null_": True}}) == ["c"]
    assert names(flows={"operator": "or_", "name": {"like_": "C"}, "tags": {"all_": ["y"]}}) == ["a", "c"]
    assert api.post("/flows/count", json={"flows": {"name": {"any_": ["a", "z"]}}}).json() == 1


def test_the_tags_of_a_flow_are_changed(api: httpx.Client) -> None:
    made = api.post("/flows/", json={"name": "etl", "tags": ["x"]}).json()
    assert api.patch(f"/flows/{made['id']}", json={"tags": ["y"]}).status_code == 204
    assert api.get(f"/flows/{made['id']}").json()["tags"] == ["y"]


def test_a_flow_is_deleted_once(api: httpx.Client) -> None:
    made = api.post("/flows/", json={"name": "etl"}).json()
    assert api.delete(f"/flows/{made['id']}").status_code == 204
    assert api.delete(f"/flows/{made['id']}").status_code == 404


def test_a_flow_goes_with_its_deployments_and_runs(api: httpx.Client) -> None:
    ids = {name: api.post("/flows/", json={"name": name}).json()["id"] for name in ("etl", "other")}
    kept = api.post("/flow_runs/", json={"flow_id": ids["other"]}).json()["id"]
    run = api.post("/flow_runs/", json={"flow_id": ids["etl"], "state": {"type": "RUNNING"}}).json()["id"]
    task_run = {"flow_run_id": run, "task_key": "extract", "dynamic_key": "0"}
    task_run_id = api.post("/task_runs/", json=task_run).json()["id"]
    child = {"flow_id": ids["other"], "parent_task_run_id": task_run_id}
    child_id = api.post("/flow_runs/", json=child).json()["id"]
    schedules = [{"schedule": {"interval": 60}}]
    deployment = {"name": "nightly", "flow_id": ids["etl"], "schedules": schedules}
    deployment_id = api.post("/deployments/", json=deployment).json()["id"]
    api.post(f"/deployments/{deployment_id}/schedule", json={})

    assert api.delete(f"/flows/{ids['etl']}").status_code == 204

    for gone in (f"/flow_runs/{run}", f"/task_runs/{task_run_id}", f"/deployments/{deployment_id}"):
        assert api.get(gone).status_code == 404, gone
    assert {found["id"] for found in api.post("/flow_runs/filter").json()} == {kept, child_id}
    assert api.get(f"/flow_runs/{child_id}").json()["parent_task_run_id"] is None


@pytest.mark.parametrize("name", ["a/b", "50%", "a&b", "<a>"])
def test_a_name_that_cannot_stand_in_an_address_is_refused(api: httpx.Client, name: str) -> None:
    answer = api.post("/flows/", json={"name": name})
    assert answer.status_code == 422
    assert "may not contain" in answer.json()["exception_detail"][0]["msg"]


def test_a_flow_that_is_not_there_is_not_found(api: httpx.Client) -> None:
    answer = api.get(f"/flows/{uuid4()}")
    assert answer.status_code == 404
    assert "flow" in answer.json()["detail"]


def test_a_null_in_the_body_of_a_list_says_nothing(api: httpx.Client) -> None:
    api.post("/flows/", json={"name": "etl"})
    body = {"flows": None, "sort": None, "limit": None, "offset": None, "work_queues": None}
    assert [flow["name"] for flow in api.post("/flows/filter", json=body).json()] == ["etl"]
