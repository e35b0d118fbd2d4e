"""What a server does by itself, each time with a clock of the test; also by three replicas at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

import httpx
import pytest

from flowyard.local import open_backend
from flowyard.server.app import create_app
from flowyard.server.gateway import Gateway
from flowyard.services.cancellation_cleanup import CancellationCleanup
from flowyard.services.foreman import Foreman
from flowyard.services.late_runs import LateRuns
from flowyard.services.loops import Loop, Loops
from flowyard.services.pause_expirations import PauseExpirations
from flowyard.services.retention import Deleted, Retention
from flowyard.services.scheduler import Scheduler
from flowyard.settings import (
    FLOWYARD_API_BLOCKS_REGISTER_ON_START,
    FLOWYARD_API_SERVICES_RETENTION_LOOP_SECONDS,
    FLOWYARD_EVENTS_RETENTION_PERIOD,
    FLOWYARD_RETENTION_PERIOD,
    Settings,
)
from flowyard.testing.servers import RunningServer, serving

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
HOURLY = {"schedule": {"cron": "0 * * * *"}}


class Counts(Protocol):
    """A service that says how much it has done."""

    def run_once(self, now: datetime) -> int: ...


@pytest.fixture
def replicas(settings: Settings, api: httpx.Client) -> Iterator[list[Gateway]]:
    """Three servers on the database that `api` speaks to."""
    assert api.get("/ready").status_code == 200
    with ExitStack() as stack:
        backends = [stack.enter_context(closing(open_backend(settings))) for _ in range(3)]
        yield [Gateway(backend, settings) for backend in backends]


@pytest.fixture
def gateway(server: RunningServer) -> Gateway:
    return server.app.state.gateway


def at_once(services: Sequence[Counts], now: datetime) -> list[int]:
    """Let services run at the same moment; return what they returned."""
    ready = threading.Barrier(len(services))

    def run(service: Counts) -> int:
        ready.wait(90)
        return service.run_once(now)

    with ThreadPoolExecutor(len(services)) as pool:
        return list(pool.map(run, services))


def deploy(api: httpx.Client, **values: object) -> dict[str, Any]:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    return api.post("/deployments/", json={"name": "d", "flow_id": flow_id, **values}).json()


def ask(api: httpx.Client, deployment: dict[str, Any], at: datetime | None = None, **values: object) -> dict[str, Any]:
    if at is not None:
        values["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": at.isoformat()}}
    return api.post(f"/deployments/{deployment['id']}/create_flow_run", json=values).json()


def propose(api: httpx.Client, flow_run: dict[str, Any], kind: str, *, force: bool = False, **values: object) -> None:
    body = {"state": {"type": kind, **values}, "force": force}
    assert api.post(f"/flow_runs/{flow_run['id']}/set_state", json=body).json()["status"] == "ACCEPT"


def runs(api: httpx.Client) -> list[dict[str, Any]]:
    return api.post("/flow_runs/filter", json={"sort": "EXPECTED_START_TIME_ASC"}).json()


def states(api: httpx.Client, run: dict[str, Any]) -> list[str]:
    noun = "task_run" if "task_key" in run else "flow_run"
    found = api.get(f"/{noun}_states/", params={f"{noun}_id": run["id"]}).json()
    return [state["name"] for state in found]


# --- the scheduler ---------------------------------------------------------------------------------------


def test_runs_are_scheduled_some_time_ahead_and_only_once(
    api: httpx.Client, gateway: Gateway, settings: Settings
) -> None:
    deploy(api, schedules=[HOURLY, {"schedule": {"cron": "* * * * *"}, "active": False}], tags=["x"])
    scheduler = Scheduler(gateway, settings)
    assert scheduler.run_once(NOON + timedelta(minutes=1)) == 3
    assert scheduler.run_once(NOON + timedelta(minutes=1)) == 0
    assert [run["expected_start_time"][11:16] for run in runs(api)] == ["13:00", "14:00", "15:00"]
    assert scheduler.run_once(NOON + timedelta(hours=2)) == 1


def test_frequent_schedules_are_followed_for_an_hour_and_long_ones_no_further_than_the_most(
    api: httpx.Client, gateway: Gateway, settings: Settings
) -> None:
    frequent = {"schedule": {"cron": "*/5 * * * *"}}
    yearly = {"schedule": {"cron": "0 0 1 1 *"}}
    few = {"schedule": {"cron": "* * * * *"}, "max_scheduled_runs": 2}
    deploy(api, schedules=[frequent, yearly, few])
    Scheduler(gateway, settings).run_once(NOON)
    times = [run["expected_start_time"][11:16] for run in runs(api)]
    assert times == ["12:00", "12:01", *(f"12:{minute:02}" for minute in range(5, 60, 5)), "13:00"]


def test_paused_deployments_are_not_scheduled_and_changed_ones_soon(
    api: httpx.Client, gateway: Gateway, settings: Settings
) -> None:
    url = f"/deployments/{deploy(api, schedules=[HOURLY], paused=True)['id']}"
    recent = Scheduler(gateway, settings, only_recent=True)
    assert recent.run_once(datetime.now(UTC)) == 0
    api.post(f"{url}/resume_deployment")
    assert recent.run_once(datetime.now(UTC) + timedelta(hours=1)) == 0
    assert recent.run_once(datetime.now(UTC)) == 3


def test_three_schedulers_make_each_run_once(api: httpx.Client, replicas: list[Gateway], settings: Settings) -> None:
    deploy(api, schedules=[{"schedule": {"cron": "*/2 * * * *"}}])
    made = at_once([Scheduler(gateway, settings) for gateway in replicas], NOON)
    found = runs(api)
    assert sum(made) == len(found) == 31
    assert len({run["expected_start_time"] for run in found}) == 31


def test_a_schedule_that_cannot_be_followed_does_not_keep_others_from_it(
    api: httpx.Client, gateway: Gateway, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(api, schedules=[HOURLY, {"schedule": {"rrule": "FREQ=DAILY"}}])
    broken = "flowyard.rules.schedules.parse"

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(broken, fail)
    assert Scheduler(gateway, settings).run_once(NOON) == 3


# --- late runs, pauses, cancellation ------------------------------------------------------------------------


def test_a_run_that_waits_too_long_is_late_once(api: httpx.Client, replicas: list[Gateway], settings: Settings) -> None:
    deployment = deploy(api)
    late = [ask(api, deployment, NOON) for _ in range(5)]
    soon = ask(api, deployment, NOON + timedelta(seconds=10))
    services: list[Counts] = [LateRuns(gateway, settings) for gateway in replicas]
    assert services[0].run_once(NOON + timedelta(seconds=14)) == 0
    assert sum(at_once(services, NOON + timedelta(seconds=15))) == 5
    for run in late:
        assert states(api, run) == ["Scheduled", "Late"]
    assert states(api, soon) == ["Scheduled"]
    again = api.get(f"/flow_runs/{late[0]['id']}").json()
    assert again["next_scheduled_start_time"] == again["expected_start_time"]


def test_a_pause_that_nobody_ended_fails(api: httpx.Client, replicas: list[Gateway]) -> None:
    deployment = deploy(api)
    run = ask(api, deployment)
    for kind in ("PENDING", "RUNNING"):
        propose(api, run, kind)
    propose(api, run, "PAUSED", state_details={"pause_timeout": NOON.isoformat(), "pause_reschedule": True})
    services: list[Counts] = [PauseExpirations(gateway) for gateway in replicas]
    assert services[0].run_once(NOON) == 0
    assert at_once(services, NOON + timedelta(seconds=1)).count(1) == 1
    assert states(api, run)[-2:] == ["Paused", "Failed"]
    assert api.get(f"/flow_runs/{run['id']}").json()["state"]["message"] == "The flow was paused and never resumed."


def test_what_belongs_to_a_cancelled_run_is_cancelled(api: httpx.Client, replicas: list[Gateway]) -> None:
    deployment = deploy(api)
    parent = ask(api, deployment)
    for kind in ("PENDING", "RUNNING"):
        propose(api, parent, kind)
    keys = {"flow_run_id": parent["id"], "task_key": "load"}
    tasks = [api.post("/task_runs/", json={**keys, "dynamic_key": str(number)}).json() for number in range(4)]
    api.post(f"/task_runs/{tasks[0]['id']}/set_state", json={"state": {"type": "COMPLETED"}, "force": True})
    flow_id = api.post("/flows/", json={"name": "child"}).json()["id"]
    inner = api.post("/flow_runs/", json={"flow_id": flow_id, "parent_task_run_id": tasks[1]["id"]}).json()
    deployed = ask(api, deployment, parent_task_run_id=tasks[2]["id"])
    propose(api, deployed, "PENDING")
    propose(api, deployed, "RUNNING")
    services: list[Counts] = [CancellationCleanup(gateway) for gateway in replicas]
    now = datetime.now(UTC)
    assert services[0].run_once(now) == 0
    propose(api, parent, "CANCELLED", force=True)

    at_once(services, now)

    assert states(api, tasks[0])[-1] == "Completed"
    assert [states(api, task)[-1] for task in tasks[1:]] == ["Cancelled", "Cancelling", "Cancelled"]
    assert states(api, tasks[3]).count("Cancelled") == 1
    assert states(api, inner) == ["Pending", "Cancelled"]
    assert states(api, deployed)[-1] == "Cancelling"
    assert services[0].run_once(now) == 0


# --- the foreman --------------------------------------------------------------------------------------------


def test_workers_queues_pools_and_deployments_that_fall_silent_are_marked(
    api: httpx.Client, replicas: list[Gateway], settings: Settings
) -> None:
    api.post("/work_pools/", json={"name": "pool"})
    deployment = deploy(api, work_pool_name="pool")
    for name, seconds in [("slow", 60), ("usual", None)]:
        body = {"name": name, "heartbeat_interval_seconds": seconds}
        api.post("/work_pools/pool/workers/heartbeat", json=body)
    api.post("/work_pools/pool/get_scheduled_flow_runs", json={})
    services: list[Counts] = [Foreman(gateway, settings) for gateway in replicas]

    def seen() -> tuple[str, ...]:
        workers = {each["name"]: each["status"] for each in api.post("/work_pools/pool/workers/filter").json()}
        pool, queue = api.get("/work_pools/pool").json(), api.get("/work_pools/pool/queues/default").json()
        made = api.get(f"/deployments/{deployment['id']}").json()
        return (workers["slow"], workers["usual"], pool["status"], queue["status"], made["status"])

    now = datetime.now(UTC)
    assert services[0].run_once(now + timedelta(seconds=20)) == 0
    assert seen() == ("ONLINE", "ONLINE", "READY", "READY", "READY")
    at_once(services, now + timedelta(seconds=100))
    assert seen() == ("ONLINE", "OFFLINE", "READY", "NOT_READY", "NOT_READY")
    at_once(services, now + timedelta(seconds=200))
    assert seen()[:3] == ("OFFLINE", "OFFLINE", "NOT_READY")
    api.post("/work_pools/pool/workers/heartbeat", json={"name": "slow"})
    assert seen()[:3] == ("ONLINE", "OFFLINE", "READY")


# --- retention -----------------------------------------------------------------------------------------------


@pytest.fixture
def keeping_events(settings: Settings) -> Settings:
    """Settings by which no event of a run is old, so that runs alone count."""
    return settings.copy_with_update({FLOWYARD_EVENTS_RETENTION_PERIOD: timedelta(days=4000)})


@pytest.fixture
def keeping_a_week(keeping_events: Settings) -> Settings:
    return keeping_events.copy_with_update({FLOWYARD_RETENTION_PERIOD: timedelta(days=7)})


def ended_run(api: httpx.Client, kind: str = "COMPLETED", **values: object) -> dict[str, Any]:
    """Return a run that ended, with a task run, a line of its log and an artifact."""
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    made = api.post("/flow_runs/", json={"flow_id": flow_id, "name": kind, **values}).json()
    task = {"flow_run_id": made["id"], "task_key": "t", "dynamic_key": "0", "name": "t-0"}
    api.post("/task_runs/", json=task).raise_for_status()
    line = {"name": "x", "level": 20, "message": "hello", "timestamp": NOON.isoformat(), "flow_run_id": made["id"]}
    api.post("/logs/", json=[line]).raise_for_status()
    api.post("/artifacts/", json={"key": kind.lower(), "flow_run_id": made["id"]}).raise_for_status()
    propose(api, made, kind, force=True)
    return made


def left(api: httpx.Client) -> tuple[int, ...]:
    """Return how many flow runs, task runs, log lines and artifacts there are."""
    nouns = ("flow_runs", "task_runs", "logs", "artifacts")
    return tuple(len(api.post(f"/{noun}/filter", json={}).json()) for noun in nouns)


def test_old_runs_go_with_what_belongs_to_them_and_each_by_one_replica(
    api: httpx.Client, replicas: list[Gateway], keeping_a_week: Settings
) -> None:
    for _ in range(4):
        ended_run(api)
    assert ended_run(api, "RUNNING")["id"] == runs(api)[-1]["id"]
    services = [Retention(gateway.control, gateway, keeping_a_week) for gateway in replicas]
    now = datetime.now(UTC)

    assert at_once(services, now + timedelta(days=6)) == [0, 0, 0]
    assert sum(at_once(services, now + timedelta(days=8))) == 4
    assert left(api) == (1, 1, 1, 1)
    assert [run["state_type"] for run in runs(api)] == ["RUNNING"]
    assert api.get("/artifacts/completed/latest").status_code == 404


def test_runs_are_kept_for_ever_unless_a_setting_says_how_long(
    api: httpx.Client, gateway: Gateway, keeping_events: Settings
) -> None:
    ended_run(api)
    assert Retention(gateway.control, gateway, keeping_events).run_once(datetime.now(UTC) + timedelta(days=3000)) == 0
    assert left(api) == (1, 1, 1, 1)


def test_a_run_stays_that_goes_on_after_it_was_found_to_be_old(
    api: httpx.Client, gateway: Gateway, keeping_a_week: Settings
) -> None:
    made = ended_run(api, "FAILED")

    class RetriedMeanwhile:
        """The control plane of a server where a client retries each run just before it is deleted."""

        def __getattr__(self, name: str) -> Any:
            return getattr(gateway.control, name)

        def delete_flow_run(self, flow_run_id: UUID, *, ended_before: datetime | None = None) -> bool:
            propose(api, {"id": str(flow_run_id)}, "RUNNING", force=True)
            return gateway.control.delete_flow_run(flow_run_id, ended_before=ended_before)

    control: Any = RetriedMeanwhile()
    assert Retention(control, gateway, keeping_a_week).run_once(datetime.now(UTC) + timedelta(days=8)) == 0
    assert [run["id"] for run in runs(api)] == [made["id"]]
    assert left(api) == (1, 1, 1, 1)


def test_a_run_stays_as_long_as_a_subflow_of_it_goes_on(
    api: httpx.Client, gateway: Gateway, keeping_a_week: Settings
) -> None:
    outer = ended_run(api)
    task = api.post("/task_runs/filter", json={}).json()[0]
    inner = ended_run(api, "RUNNING", parent_task_run_id=task["id"])
    service = Retention(gateway.control, gateway, keeping_a_week)
    now = datetime.now(UTC) + timedelta(days=8)

    assert service.run_once(now) == 0
    propose(api, inner, "COMPLETED", force=True)
    assert {run["id"] for run in runs(api)} == {outer["id"], inner["id"]}
    assert service.run_once(now) == 2
    assert left(api) == (0, 0, 0, 0)


def test_old_events_and_what_belongs_to_no_flow_run_go_in_parts_and_are_counted(
    api: httpx.Client, replicas: list[Gateway], keeping_a_week: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowyard.services.retention._ROWS_AT_A_TIME", 2)
    a_week = keeping_a_week.copy_with_update({FLOWYARD_EVENTS_RETENTION_PERIOD: timedelta(days=7)})
    now = datetime.now(UTC)
    times = [now - timedelta(days=days) for days in (8, 8, 8, 9, 9, 1)]
    resource = {"prefect.resource.id": "x"}
    events = [{"id": str(uuid4()), "occurred": str(at), "event": "e", "resource": resource} for at in times]
    lines = [{"name": "x", "level": 20, "message": "hello", "timestamp": str(at)} for at in times]
    api.post("/events", json=events).raise_for_status()
    api.post("/logs/", json=lines).raise_for_status()
    task = {"task_key": "t", "dynamic_key": "0", "state": {"type": "COMPLETED"}}
    api.post("/task_runs/", json=task).raise_for_status()
    told: list[Deleted] = []
    services = [Retention(gateway.control, gateway, a_week, on_deleted=told.append) for gateway in replicas]

    assert sum(at_once(services, now)) == 10
    assert (sum(each.events for each in told), sum(each.logs for each in told)) == (5, 5)
    assert api.post("/events/filter", json={}).json()["total"] == 1
    assert left(api) == (0, 1, 1, 0)
    assert services[0].run_once(now + timedelta(days=8)) == 3
    assert (told[-1].events, told[-1].logs, told[-1].task_runs) == (1, 1, 1)
    assert left(api) == (0, 0, 0, 0)


# --- loops ---------------------------------------------------------------------------------------------------


class Counting:
    """A service that fails at first."""

    name = "counting"

    def __init__(self, enough: int) -> None:
        self.times: list[datetime] = []
        self.done = threading.Event()
        self._enough = enough

    def run_once(self, now: datetime) -> None:
        self.times.append(now)
        if len(self.times) == self._enough:
            self.done.set()
        if len(self.times) < self._enough:
            raise RuntimeError("not yet")


def test_a_service_that_raises_is_logged_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    service = Counting(3)
    with Loops([Loop(service, 0.0, clock=lambda: NOON)]):
        assert service.done.wait(90)
    assert service.times[:3] == [NOON] * 3
    assert "counting failed" in caplog.text
    assert not [thread for thread in threading.enumerate() if thread.name == "flowyard counting"]


def test_metrics_count_the_passes_of_services_and_what_they_deleted(settings: Settings) -> None:
    short = settings.copy_with_update(
        {
            FLOWYARD_RETENTION_PERIOD: timedelta(seconds=0.001),
            FLOWYARD_API_SERVICES_RETENTION_LOOP_SECONDS: 0.1,
        }
    )
    wanted = 'flowyard_retention_deleted_total{kind="flow_runs"} 1.0'
    app = create_app(short, with_services=True)
    with serving(app) as server, httpx.Client(base_url=f"{server.address}/api", timeout=90) as api:
        ended_run(api)
        deadline = datetime.now(UTC) + timedelta(seconds=20)
        found = ""
        while wanted not in found and datetime.now(UTC) < deadline:
            found = httpx.get(f"{server.address}/metrics").text
    assert wanted in found
    assert 'flowyard_service_passes_total{outcome="done",service="retention"}' in found


@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_server_knows_the_built_in_block_types_unless_it_is_told_not_to(settings: Settings, is_wanted: bool) -> None:
    wanted = settings.copy_with_update({FLOWYARD_API_BLOCKS_REGISTER_ON_START: is_wanted})
    with serving(create_app(wanted, with_services=True)) as server:
        assert httpx.get(f"{server.address}/api/ready").status_code == 200
    # What was begun at the start is done at the end.
    with closing(open_backend(settings)) as backend:
        assert ("secret" in [kind.slug for kind in backend.control.blocks.read_types(limit=200)]) is is_wanted


def test_a_server_schedules_by_itself(settings: Settings) -> None:
    app = create_app(settings, with_services=True)
    with serving(app) as server, httpx.Client(base_url=f"{server.address}/api", timeout=90) as api:
        deploy(api, schedules=[HOURLY])
        deadline = datetime.now(UTC) + timedelta(seconds=20)
        found: list[dict[str, Any]] = []
        while not found and datetime.now(UTC) < deadline:
            found = runs(api)
        assert len(found) == 3
        assert found[0]["auto_scheduled"] is True
