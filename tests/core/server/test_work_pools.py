"""The routes of work pools, work queues and workers."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

TEMPLATE: dict[str, Any] = {
    "job_configuration": {"command": "{{ command }}", "env": "{{ env }}", "home": "{{ $HOME }}"},
    "variables": {
        "type": "object",
        "properties": {
            "command": {"type": "string", "default": "run"},
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    },
}


def make_pool(api: httpx.Client, name: str = "pool", **values: object) -> dict[str, Any]:
    answer = api.post("/work_pools/", json={"name": name, "type": "process", **values})
    assert answer.status_code == 201, answer.text
    return answer.json()


def make_queue(api: httpx.Client, name: str, pool: str = "pool", **values: object) -> dict[str, Any]:
    answer = api.post(f"/work_pools/{pool}/queues", json={"name": name, **values})
    assert answer.status_code == 201, answer.text
    return answer.json()


def names(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()]


def test_a_work_pool_has_a_default_queue(api: httpx.Client) -> None:
    pool = make_pool(api, description="for processes", base_job_template=TEMPLATE)
    assert (pool["status"], pool["is_paused"], pool["base_job_template"]) == ("NOT_READY", False, TEMPLATE)
    queue = api.get("/work_pools/pool/queues/default").json()
    assert (queue["id"], queue["priority"]) == (pool["default_queue_id"], 1)
    assert queue["work_pool_name"] == "pool"
    assert api.get("/work_pools/pool").json() == pool


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "Prefect-pool"}, 403),
        ({"name": " "}, 400),
        ({"name": "a/b"}, 422),
        ({"name": "pool", "concurrency_limit": -1}, 422),
        ({"name": "pool", "base_job_template": {"variables": {}}}, 422),
        (
            {
                "name": "pool",
                "base_job_template": {"job_configuration": {"a": ["{{ b }}"]}, "variables": {"properties": {}}},
            },
            422,
        ),
    ],
    ids=["reserved", "empty", "banned", "negative", "half a template", "undeclared variable"],
)
def test_a_work_pool_that_cannot_be_is_refused(api: httpx.Client, body: dict[str, Any], status: int) -> None:
    assert api.post("/work_pools/", json={"type": "process", **body}).status_code == status
    assert api.post("/work_pools/count").json() == 0


def test_a_name_is_taken_once(api: httpx.Client) -> None:
    make_pool(api)
    assert api.post("/work_pools/", json={"name": "pool"}).status_code == 409
    make_queue(api, "fast")
    assert api.post("/work_pools/pool/queues", json={"name": "fast"}).status_code == 409
    assert api.patch("/work_pools/pool/queues/fast", json={"name": "default"}).status_code == 409


def test_work_pools_are_filtered_and_paged(api: httpx.Client) -> None:
    for name, kind in [("b", "docker"), ("a", "process"), ("c", "docker")]:
        make_pool(api, name, type=kind)
    assert names(api.post("/work_pools/filter")) == ["a", "b", "c"]
    assert names(api.post("/work_pools/filter", json={"limit": 1, "offset": 1})) == ["b"]
    assert names(api.post("/work_pools/filter", json={"work_pools": {"type": {"any_": ["docker"]}}})) == ["b", "c"]
    either = {"operator": "or_", "name": {"any_": ["a"]}, "type": {"any_": ["docker"]}}
    assert api.post("/work_pools/count", json={"work_pools": either}).json() == 3


def test_a_pool_is_paused_changed_and_deleted(api: httpx.Client) -> None:
    make_pool(api)
    assert api.patch("/work_pools/pool", json={"is_paused": True, "concurrency_limit": 3}).status_code == 204
    assert api.get("/work_pools/pool").json()["status"] == "PAUSED"
    assert api.patch("/work_pools/pool", json={"concurrency_limit": None}).status_code == 204
    pool = api.get("/work_pools/pool").json()
    assert (pool["concurrency_limit"], pool["is_paused"]) == (None, True)
    api.patch("/work_pools/pool", json={"is_paused": False})
    assert api.get("/work_pools/pool").json()["status"] == "NOT_READY"
    assert api.delete("/work_pools/pool").status_code == 204
    assert api.delete("/work_pools/pool").status_code == 404
    assert api.post("/work_queues/filter").json() == []


def test_what_is_not_there_is_not_found(api: httpx.Client) -> None:
    make_pool(api)
    missing = str(uuid4())
    answers = [
        api.get("/work_pools/other"),
        api.patch("/work_pools/other", json={}),
        api.post("/work_pools/other/get_scheduled_flow_runs"),
        api.post("/work_pools/pool/get_scheduled_flow_runs", json={"work_queue_names": ["other"]}),
        api.post("/work_pools/other/queues", json={"name": "q"}),
        api.get("/work_pools/pool/queues/other"),
        api.post("/work_pools/other/workers/heartbeat", json={"name": "w"}),
        api.delete("/work_pools/pool/workers/w"),
        api.get(f"/work_queues/{missing}"),
        api.post(f"/work_queues/{missing}/get_runs"),
        api.get(f"/work_queues/{missing}/status"),
    ]
    assert {answer.status_code for answer in answers} == {404}


def test_a_reserved_pool_is_only_paused_and_limited(api: httpx.Client) -> None:
    assert api.patch("/work_pools/prefect-agent", json={"description": "x"}).status_code == 403
    assert api.delete("/work_pools/prefect-agent").status_code == 403


def test_queues_make_place_for_each_other(api: httpx.Client) -> None:
    make_pool(api)
    make_queue(api, "last")
    make_queue(api, "first", priority=1)

    def order() -> list[tuple[str, int]]:
        return [(each["name"], each["priority"]) for each in api.post("/work_pools/pool/queues/filter").json()]

    assert order() == [("first", 1), ("default", 2), ("last", 3)]
    assert api.patch("/work_pools/pool/queues/last", json={"priority": 1}).status_code == 204
    assert [name for name, _ in order()] == ["last", "first", "default"]
    assert len({priority for _, priority in order()}) == 3


def test_a_queue_without_a_priority_gets_the_first_free_one(api: httpx.Client) -> None:
    make_pool(api)
    make_queue(api, "last", priority=100)
    assert [make_queue(api, name)["priority"] for name in ("second", "third")] == [2, 3]


def test_queues_are_found_by_the_beginning_of_their_names(api: httpx.Client) -> None:
    make_pool(api)
    for name in ("etl-a", "ETL_b", "other"):
        make_queue(api, name)
    where = {"work_queues": {"name": {"startswith_": ["etl"]}}}
    assert names(api.post("/work_pools/pool/queues/filter", json=where)) == ["etl-a", "ETL_b"]
    assert names(api.post("/work_queues/filter", json={"work_queues": {"name": {"startswith_": ["etl_"]}}})) == [
        "ETL_b"
    ]


def test_the_default_queue_stays(api: httpx.Client) -> None:
    make_pool(api)
    assert api.delete("/work_pools/pool/queues/default").status_code == 409
    make_queue(api, "other")
    assert api.delete("/work_pools/pool/queues/other").status_code == 204
    assert api.get("/work_pools/pool/queues/other").status_code == 404


def test_a_queue_without_a_pool_is_in_that_of_the_agents(api: httpx.Client) -> None:
    made = api.post("/work_queues/", json={"name": "q", "filter": {"tags": ["x"]}})
    assert made.status_code == 201
    assert made.json()["work_pool_name"] == "default-agent-pool"
    assert made.json()["filter"] == {"tags": ["x"], "deployment_ids": None}
    assert api.get("/work_queues/name/q").json() == made.json()
    assert api.post("/work_queues/", json={"name": "q"}).status_code == 409
    queue_id = made.json()["id"]
    assert api.patch(f"/work_queues/{queue_id}", json={"concurrency_limit": 0, "description": None}).status_code == 204
    assert api.get(f"/work_queues/{queue_id}").json()["concurrency_limit"] == 0
    assert api.delete(f"/work_queues/{queue_id}").status_code == 204


def test_a_heartbeat_makes_the_worker_online_and_the_pool_ready(api: httpx.Client) -> None:
    make_pool(api)
    for seconds in (None, 12):
        body = {"name": "w", "heartbeat_interval_seconds": seconds}
        assert api.post("/work_pools/pool/workers/heartbeat", json=body).status_code == 204
    [worker] = api.post("/work_pools/pool/workers/filter").json()
    assert (worker["name"], worker["status"], worker["heartbeat_interval_seconds"]) == ("w", "ONLINE", 12)
    assert api.get("/work_pools/pool").json()["status"] == "READY"
    offline = {"workers": {"status": {"any_": ["OFFLINE"]}}}
    assert api.post("/work_pools/pool/workers/filter", json=offline).json() == []
    assert api.delete("/work_pools/pool/workers/w").status_code == 204
    assert api.post("/work_pools/pool/workers/filter").json() == []


def test_a_poll_makes_queues_ready_and_a_look_by_the_dashboard_does_not(api: httpx.Client) -> None:
    make_pool(api)
    queue = make_queue(api, "q")
    ui = {"X-Prefect-UI": "true"}
    assert api.post(f"/work_queues/{queue['id']}/get_runs", json={}, headers=ui).json() == []
    assert api.get(f"/work_queues/{queue['id']}/status").json()["healthy"] is False
    assert api.post("/work_pools/pool/get_scheduled_flow_runs", json={"work_queue_names": ["q"]}).json() == []
    polled = api.get(f"/work_queues/{queue['id']}").json()
    assert (polled["status"], polled["last_polled"] is None) == ("READY", False)
    assert api.get("/work_pools/pool/queues/default").json()["status"] == "NOT_READY"
    status = api.get(f"/work_queues/{queue['id']}/status").json()
    assert (status["healthy"], status["late_runs_count"]) == (True, 0)
    assert status["health_check_policy"] == {"maximum_late_runs": 0, "maximum_seconds_since_last_polled": 60}
    api.patch(f"/work_queues/{queue['id']}", json={"is_paused": True})
    assert api.get(f"/work_queues/{queue['id']}").json()["status"] == "PAUSED"
    api.patch(f"/work_queues/{queue['id']}", json={"is_paused": False})
    assert api.get(f"/work_queues/{queue['id']}").json()["status"] == "READY"
