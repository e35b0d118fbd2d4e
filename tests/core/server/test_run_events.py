"""Events that a server makes of what happens to runs, and to what serves them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from websockets.sync.client import connect

from flowyard.local.backend import LocalBackend
from flowyard.ports import Lease
from flowyard.schemas.events import TaskRunCreated, TaskRunEntered
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.server.gateway import Gateway
from flowyard.services.foreman import Foreman
from flowyard.settings import FLOWYARD_EVENTS_TASK_RUNS, Settings
from flowyard.testing.servers import RunningServer

Event = dict[str, Any]


def events(api: httpx.Client, prefix: str = "") -> list[Event]:
    """Return the events whose name begins so, in the order in which they occurred."""
    where = {"event": {"prefix": [prefix]}, "order": "ASC"}
    return api.post("/events/filter", json={"filter": where}).json()["events"]


def names(found: list[Event]) -> list[str]:
    return [event["event"] for event in found]


def related(event: Event) -> dict[str, str]:
    return {
        each["prefect.resource.role"]: each.get("prefect.resource.name", each["prefect.resource.id"])
        for each in event["related"]
    }


def enter(api: httpx.Client, noun: str, run: dict[str, Any], kind: str, **values: object) -> None:
    body = {"state": {"type": kind, **values}}
    api.post(f"/{noun}/{run['id']}/set_state", json=body).raise_for_status()


def make_run(api: httpx.Client, **values: object) -> dict[str, Any]:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    return api.post("/flow_runs/", json={"flow_id": flow_id, "name": "able-ape", **values}).json()


def make_task_run(api: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    body = {"flow_run_id": run["id"], "task_key": "t", "dynamic_key": "0", "name": "t-0", "tags": ["slow"]}
    return api.post("/task_runs/", json=body).json()


def test_each_state_of_a_flow_run_is_an_event_that_says_what_was_before(api: httpx.Client) -> None:
    run = make_run(api, tags=["nightly"], state={"type": "SCHEDULED"})
    enter(api, "flow_runs", run, "PENDING")
    enter(api, "flow_runs", run, "RUNNING")
    enter(api, "flow_runs", run, "FAILED", message="no disk")
    found = events(api, "prefect.flow-run.")

    assert names(found) == [f"prefect.flow-run.{name}" for name in ("Scheduled", "Pending", "Running", "Failed")]
    failed = found[-1]
    assert failed["resource"]["prefect.resource.id"] == f"prefect.flow-run.{run['id']}"
    assert failed["resource"]["prefect.resource.name"] == "able-ape"
    assert failed["resource"]["prefect.state-message"] == "no disk"
    assert failed["payload"]["intended"] == {"from": "RUNNING", "to": "FAILED"}
    assert failed["payload"]["validated_state"] == {"type": "FAILED", "name": "Failed", "message": "no disk"}
    assert found[0]["payload"]["initial_state"] is None
    assert failed["follows"] == found[-2]["id"]
    assert related(failed) == {"flow": "etl", "tag": "prefect.tag.nightly"}
    states = api.get("/flow_run_states/", params={"flow_run_id": run["id"]}).json()
    assert [event["id"] for event in found] == [state["id"] for state in states]


def test_a_run_of_a_deployment_says_where_it_waits(api: httpx.Client) -> None:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    api.post("/work_pools/", json={"name": "pool"})
    body = {"name": "nightly", "flow_id": flow_id, "work_pool_name": "pool"}
    deployment = api.post("/deployments/", json=body).json()
    api.post(f"/deployments/{deployment['id']}/create_flow_run", json={}).raise_for_status()

    (event,) = events(api, "prefect.flow-run.")
    assert related(event) == {"flow": "etl", "deployment": "nightly", "work-queue": "default", "work-pool": "pool"}
    where = {"related": {"resources_in_roles": [[f"prefect.deployment.{deployment['id']}", "deployment"]]}}
    assert api.post("/events/filter", json={"filter": where}).json()["total"] == 1


def test_task_runs_that_fail_have_an_event_and_others_do_not(api: httpx.Client) -> None:
    run = make_run(api)
    enter(api, "flow_runs", run, "RUNNING")
    task = make_task_run(api, run)
    enter(api, "task_runs", task, "RUNNING")
    enter(api, "task_runs", task, "CRASHED")

    (event,) = events(api, "prefect.task-run.")
    assert event["event"] == "prefect.task-run.Crashed"
    assert event["resource"]["prefect.resource.id"] == f"prefect.task-run.{task['id']}"
    assert related(event) == {"flow-run": "able-ape", "flow": "etl", "tag": "prefect.tag.slow"}
    assert event["payload"]["intended"] == {"from": "RUNNING", "to": "CRASHED"}


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("none", []),
        ("failures", ["Failed"]),
        ("all", ["Pending", "Running", "Completed", "Pending", "Running", "Failed"]),
    ],
)
def test_a_setting_says_which_states_that_are_reported_in_batches_have_events(
    api: httpx.Client, behind: LocalBackend, server: RunningServer, settings: Settings, which: str, expected: list[str]
) -> None:
    server.app.state.gateway = Gateway(behind, settings.copy_with_update({FLOWYARD_EVENTS_TASK_RUNS: which}))
    run, lease = begin(behind)
    recorder = behind.journal.recorder(lease)
    for kind in (StateType.COMPLETED, StateType.FAILED):
        task = TaskRun("t", kind.value, f"t-{kind.value}", "t", run.id)
        recorder.append(TaskRunCreated(task))
        for entered in (StateType.PENDING, StateType.RUNNING, kind):
            recorder.append(TaskRunEntered(task.id, State(entered)))
    behind.journal.flush()

    assert names(events(api, "prefect.task-run.")) == [f"prefect.task-run.{name}" for name in expected]


def begin(backend: LocalBackend) -> tuple[FlowRun, Lease]:
    run = FlowRun(UUID(int=0), "able-ape", state=State(StateType.PENDING))
    return run, backend.control.begin_flow_run("etl", run)


def test_an_embedded_run_has_no_events(behind: LocalBackend, tmp_path: Any, database_url: str) -> None:
    with LocalBackend.open(database_url, tmp_path) as embedded:
        run, _ = begin(embedded)
        assert embedded.control.propose_flow_run_state(run.id, State(StateType.RUNNING)).has_entered
    with behind.database.plain_reading() as connection:
        assert connection.value("SELECT count(*) FROM event") == 0


def test_what_is_undone_has_no_event(api: httpx.Client, server: RunningServer) -> None:
    run = make_run(api)
    gateway: Gateway = server.app.state.gateway
    before = names(events(api))

    def fail(connection: Any) -> None:
        entered = FlowRun(run["flow_id"], "x", state=State(StateType.RUNNING))
        connection.happenings.flow_run_entered(entered, None)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gateway.change_plainly(fail)
    assert names(events(api)) == before


def test_pools_queues_deployments_and_workers_say_when_their_status_changes(
    api: httpx.Client, server: RunningServer, settings: Settings
) -> None:
    gateway: Gateway = server.app.state.gateway
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    pool = api.post("/work_pools/", json={"name": "pool"}).json()
    api.post("/deployments/", json={"name": "nightly", "flow_id": flow_id, "work_pool_name": "pool"})
    for _ in range(2):
        api.post("/work_pools/pool/workers/heartbeat", json={"name": "w"})
        api.post("/work_pools/pool/get_scheduled_flow_runs", json={})
    online = {
        "flowyard.worker.online",
        "prefect.work-pool.ready",
        "prefect.work-queue.ready",
        "prefect.deployment.ready",
    }
    assert sorted(names(events(api))) == sorted(online)

    Foreman(gateway, settings).run_once(datetime.now(UTC) + timedelta(hours=1))
    offline = {name.replace("online", "offline").replace(".ready", ".not-ready") for name in online}
    assert sorted(names(events(api))) == sorted(online | offline)
    (queue,) = events(api, "prefect.work-queue.not-ready")
    assert queue["resource"]["prefect.resource.name"] == "default"
    assert queue["related"][0]["prefect.resource.id"] == f"prefect.work-pool.{pool['id']}"
    (deployment,) = events(api, "prefect.deployment.not-ready")
    assert related(deployment) == {"flow": "etl", "work-queue": "default"}

    api.patch("/work_pools/pool", json={"is_paused": True}).raise_for_status()
    api.patch("/work_pools/pool", json={"is_paused": True}).raise_for_status()
    assert names(events(api, "prefect.work-pool."))[2:] == ["prefect.work-pool.paused"]


def test_events_of_runs_are_streamed(api: httpx.Client, server: RunningServer) -> None:
    address = server.address.replace("http", "ws") + "/api/events/out"
    with connect(address, subprotocols=["prefect"]) as socket:  # pyright: ignore[reportArgumentType]  its own type of str
        socket.send(json.dumps({"type": "auth", "token": ""}))
        assert json.loads(socket.recv(20))["type"] == "auth_success"
        where = {"event": {"prefix": ["prefect.flow-run."]}}
        socket.send(json.dumps({"type": "filter", "filter": where, "backfill": True}))
        run = make_run(api)
        message = json.loads(socket.recv(20))
        while message["event"]["resource"]["prefect.resource.id"] != f"prefect.flow-run.{run['id']}":
            message = json.loads(socket.recv(20))
        assert message["event"]["event"] == "prefect.flow-run.Pending"


def test_an_event_that_a_client_sends_too_is_stored_once(api: httpx.Client) -> None:
    make_run(api)
    (event,) = events(api)
    api.post("/events", json=[{**event, "payload": {}}]).raise_for_status()
    assert events(api) == [event]
