"""The routes of deployments: what they are, their schedules, their runs, and who gets these."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

NOW = datetime.now(UTC)
SCHEMA: dict[str, Any] = {
    "title": "Parameters",
    "type": "object",
    "properties": {
        "x": {"title": "x", "type": "integer", "position": 0},
        "label": {"title": "label", "type": "string", "default": "a", "position": 1},
    },
    "required": ["x"],
}
HOURLY = {"schedule": {"interval": 3600, "anchor_date": "2020-01-01T00:00:00+00:00"}}


def make(api: httpx.Client, name: str = "nightly", flow: str = "etl", **values: object) -> dict[str, Any]:
    flow_id = api.post("/flows/", json={"name": flow}).json()["id"]
    answer = api.post("/deployments/", json={"name": name, "flow_id": flow_id, **values})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def make_pool(api: httpx.Client, name: str = "pool", **values: object) -> dict[str, Any]:
    return api.post("/work_pools/", json={"name": name, "type": "process", **values}).json()


def run(api: httpx.Client, deployment: dict[str, Any], **values: object) -> dict[str, Any]:
    answer = api.post(f"/deployments/{deployment['id']}/create_flow_run", json=values)
    assert answer.status_code == 201, answer.text
    return answer.json()


def scheduled_for(moment: datetime) -> dict[str, Any]:
    return {"type": "SCHEDULED", "state_details": {"scheduled_time": moment.isoformat()}}


def handed_out(api: httpx.Client, **body: object) -> list[str]:
    answer = api.post("/work_pools/pool/get_scheduled_flow_runs", json=body)
    assert answer.status_code == 200, answer.text
    return [entry["flow_run"]["name"] for entry in answer.json()]


def propose(api: httpx.Client, flow_run: dict[str, Any], kind: str, **details: object) -> str:
    answer = api.post(f"/flow_runs/{flow_run['id']}/set_state", json={"state": {"type": kind, **details}})
    return answer.json()["status"]


# --- what a deployment is ----------------------------------------------------------------------------


def test_a_deployment_is_made_once_and_then_changed(api: httpx.Client) -> None:
    make_pool(api)
    made = make(api, work_pool_name="pool", tags=["x"], job_variables={"cpu": 2}, schedules=[HOURLY], version="1")
    again = make(api, work_pool_name="pool", work_queue_name="fast", parameters={"x": 1})

    assert (made["work_queue_name"], again["work_queue_name"]) == ("default", "fast")
    assert (made["id"], made["created"]) == (again["id"], again["created"])
    assert (made["tags"], made["infra_overrides"], made["status"]) == (["x"], {"cpu": 2}, "NOT_READY")
    assert made["schedule"] == made["schedules"][0]["schedule"]
    assert (again["schedules"], again["version"], again["parameters"]) == ([], None, {"x": 1})
    assert api.get(f"/deployments/{made['id']}").json() == again
    assert api.get("/deployments/name/etl/nightly").json() == again
    assert [queue["name"] for queue in api.get(f"/deployments/{made['id']}/work_queue_check").json()] == ["fast"]


def test_a_deployment_of_the_first_kind_keeps_one_schedule(api: httpx.Client) -> None:
    made = make(
        api, schedule={"cron": "@daily"}, is_schedule_active=False, work_queue_name="q", infra_overrides={"a": 1}
    )
    assert (made["paused"], made["is_schedule_active"]) == (True, False)
    assert (made["work_pool_name"], made["work_queue_name"]) == ("default-agent-pool", "q")
    assert [(one["active"], one["schedule"]["cron"]) for one in made["schedules"]] == [(False, "@daily")]
    assert made["job_variables"] == {"a": 1}
    url = f"/deployments/{made['id']}"
    assert api.patch(url, json={"schedule": {"cron": "@hourly"}}).status_code == 204
    assert api.get(url).json()["schedule"]["cron"] == "@hourly"
    api.post(f"{url}/schedules", json=[HOURLY])
    assert api.get(url).json()["schedule"] is None
    assert api.patch(url, json={"schedule": None}).status_code == 422


def test_what_a_deployment_needs_must_be_there(api: httpx.Client) -> None:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    make_pool(
        api, base_job_template={"job_configuration": {}, "variables": {"properties": {"cpu": {"type": "integer"}}}}
    )

    def status(**values: object) -> int:
        return api.post("/deployments/", json={"name": "d", "flow_id": flow_id, **values}).status_code

    assert status(flow_id=str(uuid4())) == 409
    assert status(work_pool_name="other") == 404
    assert status(storage_document_id=str(uuid4())) == 409
    assert status(work_pool_name="pool", job_variables={"cpu": "many"}) == 422
    assert status(name="a/b") == 422
    assert status(schedules=[{"schedule": {"cron": "never"}}]) == 422
    assert api.post("/deployments/count").json() == 0
    assert api.get(f"/deployments/{uuid4()}").status_code == 404


def test_deployments_are_filtered_across_nouns(api: httpx.Client) -> None:
    make_pool(api)
    first = make(api, "a", work_pool_name="pool", tags=["x"], paused=True)
    make(api, "b", work_pool_name="pool", work_queue_name="q")
    make(api, "c", "other")
    run(api, first)

    def names(**body: object) -> list[str]:
        answer = api.post("/deployments/filter", json=body)
        assert answer.status_code == 200, answer.text
        assert api.post("/deployments/count", json=body).json() == len(answer.json()) or "limit" in body
        return [each["name"] for each in answer.json()]

    assert names() == ["a", "b", "c"]
    assert names(flows={"name": {"any_": ["etl"]}}) == ["a", "b"]
    assert names(flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}}) == ["a"]
    assert names(work_pools={"name": {"any_": ["pool"]}}) == ["a", "b"]
    assert names(work_pool_queues={"name": {"startswith_": ["q"]}}) == ["b"]
    assert names(deployments={"work_queue_name": {"any_": ["default", "q"]}, "paused": {"eq_": False}}) == ["b"]
    assert names(deployments={"is_schedule_active": {"eq_": False}, "tags": {"all_": ["x"]}}) == ["a"]
    assert names(sort="NAME_DESC", limit=1, offset=1) == ["b"]
    assert names(limit=2, after=first["id"]) == ["b", "c"]
    flows = api.post("/flows/filter", json={"deployments": {"name": {"any_": ["c"]}}}).json()
    assert [flow["name"] for flow in flows] == ["other"]
    assert api.post("/flow_runs/count", json={"deployments": {"name": {"any_": ["a"]}}}).json() == 1
    assert api.post("/flow_runs/count", json={"work_pools": {"name": {"any_": ["none"]}}}).json() == 0
    assert api.post("/flow_runs/count", json={"work_pool_queues": {"name": {"any_": ["default"]}}}).json() == 1


def test_schedules_are_added_changed_and_deleted(api: httpx.Client) -> None:
    url = f"/deployments/{make(api)['id']}/schedules"
    [made] = api.post(url, json=[HOURLY]).json()
    assert api.patch(f"{url}/{made['id']}", json={"active": False, "schedule": {"cron": "@daily"}}).status_code == 204
    [found] = api.get(url).json()
    assert (found["id"], found["active"], found["schedule"]["cron"]) == (made["id"], False, "@daily")
    assert api.patch(f"{url}/{uuid4()}", json={"active": False}).status_code == 404
    assert api.delete(f"{url}/{made['id']}").status_code == 204
    assert api.delete(f"{url}/{made['id']}").status_code == 404
    assert api.post(f"/deployments/{uuid4()}/schedules", json=[HOURLY]).status_code == 404


# --- runs -----------------------------------------------------------------------------------------------


def test_a_run_takes_what_it_does_not_say_from_its_deployment(api: httpx.Client) -> None:
    make_pool(api)
    deployment = make(api, work_pool_name="pool", parameters={"x": 1, "y": 2}, tags=["a"], version="7")
    made = run(api, deployment, parameters={"y": 3}, tags=["b", "a"], job_variables={"cpu": 4})

    assert (made["state_type"], made["state_name"]) == ("SCHEDULED", "Scheduled")
    assert (made["parameters"], made["tags"]) == ({"x": 1, "y": 3}, ["a", "b"])
    assert (made["work_queue_name"], made["work_pool_name"]) == ("default", "pool")
    assert (made["deployment_id"], made["deployment_version"]) == (deployment["id"], "7")
    assert (made["job_variables"], made["auto_scheduled"]) == ({"cpu": 4}, False)
    # Nothing is said about retries: Prefect 2's engine then takes what the flow says.
    assert made["empirical_policy"]["retries"] is None
    assert run(api, deployment, work_queue_name="new")["work_queue_name"] == "new"
    url = f"/deployments/{deployment['id']}/create_flow_run"
    first, second = (api.post(url, json={"idempotency_key": "once"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert api.post(f"/deployments/{uuid4()}/create_flow_run", json={}).status_code == 404


def test_parameters_are_held_to_the_schema_when_that_is_enforced(api: httpx.Client) -> None:
    deployment = make(api, parameter_openapi_schema=SCHEMA, enforce_parameter_schema=True)
    url = f"/deployments/{deployment['id']}"

    def status(**body: object) -> int:
        return api.post(f"{url}/create_flow_run", json=body).status_code

    assert status(parameters={"x": 1}) == 201
    assert status(parameters={"x": 1, "label": None}) == 201
    assert status(parameters={"x": "one"}) == 409
    assert status() == 409
    assert status(enforce_parameter_schema=False) == 201
    refused = api.post(f"{url}/create_flow_run", json={"parameters": {"x": "one"}}).json()["detail"]
    assert "x: 'one' is not of type 'integer'" in refused
    assert api.patch(url, json={"parameters": {"x": "one"}}).status_code == 409
    # What is missing may come with the run.
    assert api.patch(url, json={"parameters": {"label": "b"}}).status_code == 204


def test_a_deployment_with_parameters_that_do_not_fit_is_not_made(api: httpx.Client) -> None:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    body = {"name": "nightly", "flow_id": flow_id, "parameter_openapi_schema": SCHEMA, "enforce_parameter_schema": True}
    refused = api.post("/deployments/", json={**body, "parameters": {"x": "one"}})
    assert refused.status_code == 422
    assert "x: 'one' is not of type 'integer'" in refused.json()["detail"]
    assert api.post("/deployments/count").json() == 0
    assert api.post("/deployments/", json=body).status_code == 201


def test_a_worker_that_asks_for_no_runs_gets_none(api: httpx.Client) -> None:
    make_pool(api)
    deployment = make(api, work_pool_name="pool")
    api.post(f"/deployments/{deployment['id']}/create_flow_run", json={})
    answer = api.post("/work_pools/pool/get_scheduled_flow_runs", json={"limit": 0})
    assert (answer.status_code, answer.json()) == (200, [])


def test_job_variables_are_held_to_the_schema_of_the_pool(api: httpx.Client) -> None:
    variables = {"properties": {"cpu": {"type": "integer"}, "image": {"type": "string"}}, "required": ["image"]}
    make_pool(api, base_job_template={"job_configuration": {}, "variables": variables})
    deployment = make(api, work_pool_name="pool", job_variables={"cpu": 1})
    url = f"/deployments/{deployment['id']}/create_flow_run"
    assert api.post(url, json={}).status_code == 422
    assert api.post(url, json={"job_variables": {"image": "x"}}).status_code == 201
    assert api.post(url, json={"job_variables": {"image": "x", "cpu": "one"}}).status_code == 422


@pytest.mark.parametrize(
    ("placeholder", "value"),
    [
        ({"__prefect_kind": "none", "value": [1, {"__prefect_kind": "json", "value": "2"}]}, [1, 2]),
        ({"__prefect_kind": "json", "value": '{"a": [true]}'}, {"a": [True]}),
        ({"__prefect_kind": "jinja", "template": "{{ 1 + 2 }}"}, "3"),
        ({"__prefect_kind": "workspace_variable", "variable_name": "region"}, "eu"),
    ],
    ids=["none", "json", "jinja", "variable"],
)
def test_placeholders_are_filled_in(api: httpx.Client, placeholder: dict[str, Any], value: object) -> None:
    api.post("/variables/", json={"name": "region", "value": "eu"})
    made = run(api, make(api), parameters={"x": [placeholder], "gone": {"__prefect_kind": "json"}})
    assert made["parameters"] == {"x": [value]}


@pytest.mark.parametrize(
    "placeholder",
    [
        {"__prefect_kind": "json", "value": "{"},
        {"__prefect_kind": "jinja", "template": "{{ ''.__class__.__mro__ }}"},
        {"__prefect_kind": "jinja", "template": "{% if %}"},
        {"__prefect_kind": "workspace_variable", "variable_name": "none"},
        {"__prefect_kind": "other"},
    ],
    ids=["json", "sandbox", "syntax", "variable", "kind"],
)
def test_a_placeholder_that_cannot_be_filled_in_is_refused(api: httpx.Client, placeholder: dict[str, Any]) -> None:
    url = f"/deployments/{make(api)['id']}"
    assert api.post(f"{url}/create_flow_run", json={"parameters": {"x": placeholder}}).status_code == 400
    assert api.patch(url, json={"parameters": {"x": placeholder}}).status_code == 400


# --- handing out ------------------------------------------------------------------------------------------


def test_runs_are_handed_out_by_priority_and_then_by_time(api: httpx.Client) -> None:
    make_pool(api)
    api.post("/work_pools/pool/queues", json={"name": "urgent", "priority": 1})
    deployment = make(api, work_pool_name="pool")
    for name, queue, minutes in [("c", "default", -1), ("b", "default", -5), ("a", "urgent", 0), ("z", "urgent", 60)]:
        state = scheduled_for(NOW + timedelta(minutes=minutes))
        run(api, deployment, name=name, work_queue_name=queue, state=state)

    soon = (NOW + timedelta(minutes=30)).isoformat()
    assert handed_out(api, scheduled_before=soon) == ["a", "b", "c"]
    assert handed_out(api, scheduled_before=soon, limit=2) == ["a", "b"]
    assert handed_out(api, work_queue_names=["default"]) == ["b", "c"]
    assert handed_out(api, work_queue_names=[], scheduled_before=soon) == ["a", "b", "c"]
    assert handed_out(api, scheduled_after=soon) == ["z"]
    assert api.get(f"/deployments/{deployment['id']}").json()["status"] == "READY"
    api.patch("/work_pools/pool/queues/urgent", json={"is_paused": True})
    assert handed_out(api) == ["b", "c"]
    api.patch("/work_pools/pool", json={"is_paused": True})
    assert handed_out(api) == []


def test_limits_count_what_is_pending_or_running(api: httpx.Client) -> None:
    make_pool(api, concurrency_limit=3)
    api.post("/work_pools/pool/queues", json={"name": "narrow", "concurrency_limit": 1, "priority": 1})
    deployment = make(api, work_pool_name="pool")
    narrow = [run(api, deployment, name=f"n{i}", work_queue_name="narrow") for i in range(3)]
    wide = [run(api, deployment, name=f"w{i}") for i in range(3)]

    assert handed_out(api) == ["n0", "w0", "w1"]
    assert propose(api, narrow[0], "PENDING") == "ACCEPT"
    assert propose(api, narrow[0], "PENDING") == "ABORT"
    assert handed_out(api) == ["w0", "w1"]
    propose(api, wide[0], "PENDING")
    propose(api, wide[0], "RUNNING")
    assert handed_out(api) == ["w1"]
    propose(api, wide[0], "COMPLETED")
    propose(api, narrow[0], "CRASHED")
    assert handed_out(api) == ["n1", "w1", "w2"]
    api.patch("/work_pools/pool", json={"concurrency_limit": 0})
    assert handed_out(api) == []


def test_a_run_that_waits_in_its_own_process_is_not_handed_out(api: httpx.Client) -> None:
    make_pool(api)
    deployment = make(api, work_pool_name="pool")
    made = run(api, deployment, name="again", empirical_policy={"retries": 1, "retry_delay": 60})
    propose(api, made, "PENDING")
    propose(api, made, "RUNNING")
    assert propose(api, made, "FAILED") == "REJECT"
    assert api.get(f"/flow_runs/{made['id']}").json()["state_name"] == "AwaitingRetry"
    assert handed_out(api) == []
    assert propose(api, made, "RUNNING", state_details={}) == "WAIT"


def test_runs_of_deployments_are_handed_out_to_their_runner(api: httpx.Client) -> None:
    first, other = make(api, "a"), make(api, "b")
    run(api, first, name="later", state=scheduled_for(NOW + timedelta(hours=1)))
    run(api, first, name="now")
    run(api, other, name="other")

    def names(**body: object) -> list[str]:
        return [each["name"] for each in api.post("/deployments/get_scheduled_flow_runs", json=body).json()]

    assert names(deployment_ids=[first["id"]]) == ["now", "later"]
    soon = (NOW + timedelta(minutes=30)).isoformat()
    assert names(deployment_ids=[first["id"], other["id"]], scheduled_before=soon) == ["now", "other"]
    assert names(deployment_ids=[]) == []
    assert api.get(f"/deployments/{first['id']}").json()["last_polled"] is not None


def test_a_queue_with_a_filter_takes_the_runs_that_it_meets(api: httpx.Client) -> None:
    deployment = make(api, tags=["x"])
    queue = api.post("/work_queues/", json={"name": "old", "filter": {"tags": ["x", "y"]}}).json()
    run(api, deployment, name="x")
    run(api, deployment, name="xy", tags=["y"])
    found = api.post(f"/work_queues/{queue['id']}/get_runs", json={}).json()
    assert [each["name"] for each in found] == ["xy"]


# --- scheduled runs ----------------------------------------------------------------------------------------


def scheduled(api: httpx.Client) -> list[dict[str, Any]]:
    body = {"sort": "EXPECTED_START_TIME_ASC", "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    return api.post("/flow_runs/filter", json=body).json()


def test_the_runs_of_schedules_are_made_on_demand(api: httpx.Client) -> None:
    url = f"/deployments/{make(api, schedules=[HOURLY], tags=['x'], parameters={'y': 1}, paused=True)['id']}"
    window = {"start_time": "2030-01-01T00:00:00Z", "end_time": "2030-01-01T02:00:00Z"}
    assert api.post(f"{url}/schedule", json=window).status_code == 200
    assert scheduled(api) == []
    api.post(f"{url}/resume_deployment")
    for _ in range(2):
        assert api.post(f"{url}/schedule", json=window).json() is None
    found = scheduled(api)
    assert [each["expected_start_time"][11:16] for each in found] == ["00:00", "01:00", "02:00"]
    deployment_id = url.rpartition("/")[2]
    assert found[0]["idempotency_key"] == f"scheduled {deployment_id} 2030-01-01T00:00:00+00:00"
    assert (found[0]["tags"], found[0]["auto_scheduled"]) == (["auto-scheduled", "x"], True)
    assert (found[0]["parameters"], found[0]["state"]["message"]) == ({"y": 1}, "Flow run scheduled")
    assert found[0]["created_by"]["type"] == "DEPLOYMENT"


@pytest.mark.parametrize("route", ["pause_deployment", "set_schedule_inactive", "patch", "schedules", "again"])
def test_what_a_schedule_asked_for_is_taken_back_with_it(api: httpx.Client, route: str) -> None:
    deployment = make(api, schedules=[HOURLY])
    url = f"/deployments/{deployment['id']}"
    mine = run(api, deployment, name="mine")
    api.post(f"{url}/schedule", json={"max_runs": 2})
    assert len(scheduled(api)) == 3
    if route == "patch":
        api.patch(url, json={"tags": ["new"]})
    elif route == "schedules":
        api.delete(f"{url}/schedules/{deployment['schedules'][0]['id']}")
    elif route == "again":
        make(api)
    else:
        api.post(f"{url}/{route}")
        assert api.get(url).json()["paused"] is True
    assert [each["id"] for each in scheduled(api)] == [mine["id"]]


def test_a_deployment_is_deleted_with_what_has_not_begun(api: httpx.Client) -> None:
    deployment = make(api, schedules=[HOURLY])
    url = f"/deployments/{deployment['id']}"
    begun = run(api, deployment)
    propose(api, begun, "PENDING")
    run(api, deployment)
    api.post(f"{url}/schedule", json={"max_runs": 2})
    assert api.delete(url).status_code == 204
    assert api.delete(url).status_code == 404
    assert [each["id"] for each in api.post("/flow_runs/filter", json={}).json()] == [begun["id"]]
