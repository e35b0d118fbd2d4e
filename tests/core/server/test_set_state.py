"""Transitions over the REST API: what the rules make of what clients of Prefect 2 propose."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from flowyard.schemas.runs import FlowRun
from flowyard.testing.servers import RunningServer

STORED = {"type": "reference", "storage_key": "k", "storage_block_id": None, "serializer_type": "pickle"}


@pytest.fixture
def flow_run(api: httpx.Client) -> dict[str, Any]:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    return api.post("/flow_runs/", json={"flow_id": flow_id}).json()


def propose(api: httpx.Client, run: dict[str, Any], kind: str, *, force: bool = False, **state: Any) -> dict[str, Any]:
    noun = "task_runs" if "task_key" in run else "flow_runs"
    answer = api.post(f"/{noun}/{run['id']}/set_state", json={"state": {"type": kind, **state}, "force": force})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def task(api: httpx.Client, flow_run: dict[str, Any] | None, dynamic_key: str = "0", **body: Any) -> dict[str, Any]:
    keys = {"flow_run_id": flow_run and flow_run["id"], "task_key": "load", "dynamic_key": dynamic_key}
    return api.post("/task_runs/", json={**keys, "name": f"load-{dynamic_key}", **body}).json()


def again(api: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    return api.get(f"/{'task_runs' if 'task_key' in run else 'flow_runs'}/{run['id']}").json()


def test_a_flow_run_goes_its_way_and_every_state_is_kept(api: httpx.Client, flow_run: dict[str, Any]) -> None:
    answer = api.post(f"/flow_runs/{flow_run['id']}/set_state", json={"state": {"type": "RUNNING", "message": "m"}})
    running = answer.json()
    assert (answer.status_code, running["status"], running["details"]) == (201, "ACCEPT", {"type": "accept_details"})
    assert (running["state"]["name"], running["state"]["message"]) == ("Running", "m")
    assert propose(api, flow_run, "COMPLETED", data=STORED)["status"] == "ACCEPT"

    ended = again(api, flow_run)
    assert (ended["state_type"], ended["run_count"], ended["state"]["data"]) == ("COMPLETED", 1, STORED)
    assert ended["start_time"] == running["state"]["timestamp"]
    assert ended["end_time"] == ended["state"]["timestamp"]
    assert ended["total_run_time"] == ended["estimated_run_time"] > 0
    states = api.get("/flow_run_states/", params={"flow_run_id": flow_run["id"]}).json()
    assert [state["type"] for state in states] == ["PENDING", "RUNNING", "COMPLETED"]
    assert api.get(f"/flow_run_states/{states[1]['id']}").json() == states[1] == running["state"]
    assert api.get(f"/flow_run_states/{uuid4()}").status_code == 404

    kept = api.post(f"/flow_runs/{flow_run['id']}/set_state", json={"state": {"type": "RUNNING"}})
    assert (kept.status_code, kept.json()["status"], kept.json()["state"]["id"]) == (200, "REJECT", ended["state_id"])
    assert propose(api, flow_run, "CRASHED")["status"] == "ABORT"


def test_a_failed_flow_run_is_told_to_try_again_and_to_wait_for_it(api: httpx.Client, flow_run: dict[str, Any]) -> None:
    policy = {"empirical_policy": {"retries": 1, "retry_delay": 100}}
    assert api.patch(f"/flow_runs/{flow_run['id']}", json=policy).status_code == 204
    propose(api, flow_run, "RUNNING")
    rejected = propose(api, flow_run, "FAILED", message="no")
    assert (rejected["status"], rejected["state"]["name"], rejected["state"]["message"]) == (
        "REJECT",
        "AwaitingRetry",
        "no",
    )
    assert again(api, flow_run)["empirical_policy"]["retry_type"] == "in_process"
    waiting = propose(api, flow_run, "RUNNING")
    assert (waiting["status"], waiting["details"]["type"]) == ("WAIT", "wait_details")
    assert 90 < waiting["details"]["delay_seconds"] <= 100


def test_a_transition_counts_once_however_often_it_is_sent(api: httpx.Client, flow_run: dict[str, Any]) -> None:
    details = {"transition_id": str(uuid4())}
    first = propose(api, flow_run, "RUNNING", state_details=details)
    second = propose(api, flow_run, "RUNNING", state_details=details)
    assert (first["status"], second["status"]) == ("ACCEPT", "REJECT")
    assert second["state"]["id"] == first["state"]["id"]
    assert again(api, flow_run)["run_count"] == 1


def test_of_clients_that_race_for_a_run_exactly_one_gets_it(api: httpx.Client, flow_run: dict[str, Any]) -> None:
    propose(api, flow_run, "SCHEDULED", force=True)
    together = threading.Barrier(8)

    def race(_: int) -> str:
        together.wait(90)
        return propose(api, flow_run, "PENDING")["status"]

    with ThreadPoolExecutor(8) as clients:
        verdicts = list(clients.map(race, range(8)))
    assert sorted(verdicts) == ["ABORT"] * 7 + ["ACCEPT"]


def test_a_run_that_is_not_there_is_not_found(api: httpx.Client) -> None:
    for noun in ("flow_runs", "task_runs"):
        answer = api.post(f"/{noun}/{uuid4()}/set_state", json={"state": {"type": "RUNNING"}})
        assert (answer.status_code, list(answer.json())) == (404, ["exception_message"])


def test_a_task_run_is_retried_renamed_and_counted(api: httpx.Client, flow_run: dict[str, Any]) -> None:
    propose(api, flow_run, "RUNNING")
    run = task(api, flow_run, empirical_policy={"retries": 1, "retry_delay": 0})
    assert propose(api, run, "RUNNING")["state"]["name"] == "Running"
    assert propose(api, run, "FAILED", state_details={"retriable": True})["state"]["name"] == "AwaitingRetry"
    assert propose(api, run, "RUNNING")["state"]["name"] == "Retrying"
    assert propose(api, run, "FAILED")["status"] == "ACCEPT"
    ended = again(api, run)
    assert (ended["run_count"], ended["flow_run_run_count"], ended["state_name"]) == (2, 1, "Failed")
    states = api.get("/task_run_states/", params={"task_run_id": run["id"]}).json()
    assert [state["name"] for state in states] == ["Pending", "Running", "AwaitingRetry", "Retrying", "Failed"]
    assert api.get(f"/task_run_states/{states[2]['id']}").json() == states[2]
    assert api.get(f"/task_run_states/{uuid4()}").status_code == 404
    counts = api.post("/ui/task_runs/count", json={"flow_runs": {"id": {"any_": [flow_run["id"]]}}}).json()
    assert {kind: number for kind, number in counts.items() if number} == {"FAILED": 1}


@pytest.mark.parametrize(
    ("flow_state", "status", "name"), [("PAUSED", "REJECT", "NotReady"), ("CANCELLING", "ABORT", "Pending")]
)
def test_no_task_starts_while_its_flow_does_not_run(
    api: httpx.Client, flow_run: dict[str, Any], flow_state: str, status: str, name: str
) -> None:
    propose(api, flow_run, "RUNNING")
    run = task(api, flow_run)
    timeout = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    propose(api, flow_run, flow_state, state_details={"pause_timeout": timeout})
    answer = propose(api, run, "RUNNING")
    assert (answer["status"], answer["state"]["name"]) == (status, name)
    if flow_state == "PAUSED":
        assert answer["state"]["state_details"]["pause_timeout"] == timeout
        assert propose(api, run, "RUNNING", force=True)["status"] == "ACCEPT"


def test_a_result_is_found_by_its_cache_key_until_it_expires(api: httpx.Client, flow_run: dict[str, Any]) -> None:
    propose(api, flow_run, "RUNNING")
    first, hit, refreshing, expired = (task(api, flow_run, str(number)) for number in range(4))
    propose(api, first, "RUNNING", state_details={"cache_key": "k"})
    propose(api, first, "COMPLETED", data=STORED, state_details={"cache_key": "k"})

    answer = propose(api, hit, "RUNNING", state_details={"cache_key": "k"})
    assert (answer["status"], answer["state"]["name"], answer["state"]["data"]) == ("REJECT", "Cached", STORED)
    assert answer["state"]["state_details"]["task_run_id"] == hit["id"]
    refresh = {"cache_key": "k", "refresh_cache": True}
    assert propose(api, refreshing, "RUNNING", state_details=refresh)["status"] == "ACCEPT"
    past = {"cache_key": "old", "cache_expiration": "2020-01-01T00:00:00Z"}
    propose(api, refreshing, "COMPLETED", state_details=past)
    assert propose(api, expired, "RUNNING", state_details={"cache_key": "old"})["status"] == "ACCEPT"


def test_task_runs_of_a_tag_wait_for_its_slots(api: httpx.Client, flow_run: dict[str, Any]) -> None:
    api.post("/concurrency_limits/", json={"tag": "db", "concurrency_limit": 1})
    api.post("/concurrency_limits/", json={"tag": "never", "concurrency_limit": 0})
    propose(api, flow_run, "RUNNING")
    first, second, third = (task(api, flow_run, str(number), tags=["db", "free"]) for number in range(3))

    assert propose(api, first, "RUNNING")["status"] == "ACCEPT"
    waiting = propose(api, second, "RUNNING")
    assert (waiting["status"], waiting["details"]["delay_seconds"]) == ("WAIT", 30)
    assert again(api, second)["state_type"] == "PENDING"
    assert api.get("/concurrency_limits/tag/db").json()["active_slots"] == [first["id"]]
    propose(api, first, "COMPLETED")
    assert propose(api, second, "RUNNING")["status"] == "ACCEPT"
    assert propose(api, task(api, flow_run, "n", tags=["never"]), "RUNNING")["status"] == "ABORT"
    # When the flow run has ended, nobody is left who would give the slot back.
    propose(api, flow_run, "CRASHED")
    assert api.get("/concurrency_limits/tag/db").json()["active_slots"] == []
    assert propose(api, task(api, None, tags=["db"]), "RUNNING")["status"] == "ACCEPT"
    assert propose(api, third, "RUNNING")["status"] == "ABORT"


def test_task_runs_of_a_flow_that_a_process_executes_are_left_to_it(
    api: httpx.Client, server: RunningServer, flow_run: dict[str, Any]
) -> None:
    propose(api, flow_run, "RUNNING")
    run = task(api, flow_run)
    mine = FlowRun(UUID(flow_run["flow_id"]), flow_run["name"], id=UUID(flow_run["id"]))
    server.app.state.gateway.control.begin_flow_run("etl", mine)

    refused = propose(api, run, "RUNNING", force=True)
    assert (refused["status"], "process" in refused["details"]["reason"]) == ("ABORT", True)
    child = {"flow_id": flow_run["flow_id"], "parent_task_run_id": run["id"], "state": {"type": "RUNNING"}}
    assert api.post("/flow_runs/", json=child).status_code == 201
    assert again(api, run)["state_type"] == "PENDING"


def test_the_task_run_of_a_subflow_is_in_the_state_of_the_subflow(api: httpx.Client, flow_run: dict[str, Any]) -> None:
    propose(api, flow_run, "RUNNING")
    mirror = task(api, flow_run)
    body = {"flow_id": flow_run["flow_id"], "parent_task_run_id": mirror["id"]}
    child = api.post("/flow_runs/", json=body).json()
    assert child["state"]["state_details"]["task_run_id"] == mirror["id"]
    propose(api, child, "RUNNING")
    propose(api, child, "FAILED", message="no")

    state = again(api, mirror)["state"]
    assert (state["type"], state["message"], state["state_details"]["child_flow_run_id"]) == (
        "FAILED",
        "no",
        child["id"],
    )
    where = {"parent_flow_run_id": {"any_": [flow_run["id"]]}}
    found = api.post("/flow_runs/filter", json={"flow_runs": where}).json()
    assert [run["id"] for run in found] == [child["id"]]
    assert api.post("/task_runs/count", json={"task_runs": {"subflow_runs": {"exists_": True}}}).json() == 1


def test_a_paused_run_goes_on_with_the_input_it_asked_for(api: httpx.Client, flow_run: dict[str, Any]) -> None:
    keys = {name: f"paused-1-{name}" for name in ("schema", "response", "description")}
    schema = '{"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}'
    path = f"/flow_runs/{flow_run['id']}"
    assert api.post(f"{path}/input", json={"key": keys["schema"], "value": schema}).status_code == 201
    assert api.post(f"{path}/input", json={"key": keys["schema"], "value": schema}).status_code == 409
    assert api.post(f"{path}/resume").json()["status"] == "ABORT"
    propose(api, flow_run, "RUNNING")
    timeout = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    propose(api, flow_run, "PAUSED", state_details={"pause_timeout": timeout, "run_input_keyset": keys})

    assert api.post(f"{path}/resume", json={"run_input": {"x": "no"}}).json()["status"] == "REJECT"
    resumed = api.post(f"{path}/resume", json={"run_input": {"x": 1}})
    assert (resumed.status_code, resumed.json()["state"]["type"]) == (201, "RUNNING")
    assert api.get(f"{path}/input/{keys['response']}").json() == {"x": 1}
    assert again(api, flow_run)["run_count"] == 1

    found = api.post(f"{path}/input/filter", json={"prefix": "paused-1", "limit": 9, "exclude_keys": [keys["schema"]]})
    assert [one["key"] for one in found.json()] == [keys["response"]]
    assert api.delete(f"{path}/input/{keys['response']}").status_code == 204
    assert api.get(f"{path}/input/{keys['response']}").status_code == 404
    assert api.post(f"/flow_runs/{uuid4()}/input", json={"key": "k", "value": "v"}).status_code == 404
