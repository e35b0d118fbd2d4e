from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from flowyard.client import SyncFlowyardClient
from flowyard.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate, WorkPoolUpdate
from flowyard.client.schemas.filters import DeploymentFilter, DeploymentFilterName, WorkPoolFilter, WorkPoolFilterType
from flowyard.client.schemas.schedules import CronSchedule, IntervalSchedule, NoSchedule, construct_schedule
from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound

LATER = datetime.now(UTC) + timedelta(days=365)


@pytest.mark.parametrize("client", ["async", "sync", "async over HTTP", "sync over HTTP"], indirect=True)
def test_deployments_are_made_changed_run_and_deleted(client: SyncFlowyardClient) -> None:
    flow_id = client.create_flow_from_name("etl")
    client.create_work_pool(WorkPoolCreate(name="pool", type="process"))
    made = client.create_deployment(
        flow_id,
        "nightly",
        parameters={"when": datetime(2030, 1, 1, tzinfo=UTC)},
        schedules=[DeploymentScheduleCreate(schedule=CronSchedule(cron="0 3 * * *"))],
        work_pool_name="pool",
        tags=["t"],
        job_variables={"env": {"A": "1"}},
    )
    deployment = client.read_deployment_by_name("etl/nightly")
    assert deployment == client.read_deployment(made)
    assert (deployment.work_pool_name, deployment.job_variables) == ("pool", {"env": {"A": "1"}})
    assert deployment.parameters == {"when": "2030-01-01T00:00:00Z"}

    deployment.description = "each night"
    client.update_deployment(deployment)
    client.set_deployment_paused_state(made, True)
    where = DeploymentFilter(name=DeploymentFilterName(any_=["nightly"]))
    assert [
        (each.description, each.paused, len(each.schedules))
        for each in client.read_deployments(deployment_filter=where)
    ] == [("each night", True, 1)]
    client.update_schedule(made)
    assert not client.read_deployment(made).paused

    run = client.create_flow_run_from_deployment(made, parameters={"x": 1}, tags=["u"], idempotency_key="once")
    assert client.create_flow_run_from_deployment(made, idempotency_key="once").id == run.id
    assert (run.parameters, sorted(run.tags), run.state_name) == (
        {**deployment.parameters, "x": 1},
        ["t", "u"],
        "Scheduled",
    )
    handed = client.get_scheduled_flow_runs_for_work_pool("pool", scheduled_before=LATER)
    assert run.id in {each.flow_run.id for each in handed}
    due = client.get_scheduled_flow_runs_for_deployments([made], scheduled_before=datetime.now(UTC) + timedelta(1))
    assert run.id in {each.id for each in due}
    client.delete_deployment(made)
    with pytest.raises(ObjectNotFound, match="no deployment"):
        client.read_deployment(made)


def test_the_name_of_a_deployment_has_two_parts(client: SyncFlowyardClient) -> None:
    with pytest.raises(ValueError, match="write flow-name/deployment-name"):
        client.read_deployment_by_name("nightly")


def test_schedules_of_a_deployment_come_and_go(client: SyncFlowyardClient) -> None:
    made = client.create_deployment(client.create_flow_from_name("etl"), "d", schedule=CronSchedule(cron="0 1 * * *"))
    (first,) = client.read_deployment_schedules(made)
    hourly = IntervalSchedule(interval=timedelta(hours=1))
    (second,) = client.create_deployment_schedules(made, [(hourly, False)])
    assert not second.active
    client.update_deployment_schedule(made, second.id, active=True, schedule=construct_schedule(interval=60))
    found = {each.id: each for each in client.read_deployment_schedules(made)}
    changed = found[second.id].schedule
    assert found[second.id].active
    assert isinstance(changed, IntervalSchedule)
    assert changed.interval == timedelta(minutes=1)
    client.delete_deployment_schedule(made, first.id)
    client.update_deployment(client.read_deployment(made), schedule=NoSchedule())
    assert client.read_deployment_schedules(made) == []
    with pytest.raises(ObjectNotFound, match="no schedule"):
        client.delete_deployment_schedule(made, first.id)


def test_work_pools_are_made_changed_and_deleted(client: SyncFlowyardClient) -> None:
    client.create_work_pool(WorkPoolCreate(name="a", type="process"))
    with pytest.raises(ObjectAlreadyExists, match="work pool 'a'"):
        client.create_work_pool(WorkPoolCreate(name="a"))
    changed = client.create_work_pool(WorkPoolCreate(name="a", concurrency_limit=3), overwrite=True)
    assert (changed.type, changed.concurrency_limit) == ("process", 3)
    client.update_work_pool("a", WorkPoolUpdate(is_paused=True))
    where = WorkPoolFilter(type=WorkPoolFilterType(any_=["process"]))
    assert client.read_work_pools(work_pool_filter=where) == [client.read_work_pool("a")]
    assert client.read_work_pool("a").is_paused
    client.send_worker_heartbeat("a", "w1", heartbeat_interval_seconds=30.4)
    (worker,) = client.read_workers_for_work_pool("a")
    assert (worker.name, worker.status.value, worker.heartbeat_interval_seconds) == ("w1", "ONLINE", 30)
    client.delete_work_pool("a")
    for call in (client.read_work_pool, client.read_work_queues, client.delete_work_pool):
        with pytest.raises(ObjectNotFound, match="work pool 'a'"):
            call("a")


def test_work_queues_are_made_changed_and_deleted(client: SyncFlowyardClient) -> None:
    client.create_work_pool(WorkPoolCreate(name="p"))
    made = client.create_work_queue("urgent", priority=1, work_pool_name="p", description="first")
    of_agents = client.create_work_queue("old", tags=["x"])
    with pytest.raises(ObjectAlreadyExists, match="work queue 'urgent'"):
        client.create_work_queue("urgent", work_pool_name="p")
    assert client.read_work_queue_by_name("urgent", "p") == client.read_work_queue(made.id)
    assert client.read_work_queue_by_name("old").filter == of_agents.filter
    client.update_work_queue(made.id, is_paused=True)
    assert client.read_work_queue(made.id).is_paused
    with pytest.raises(ValueError, match="is_paused=True"):
        client.update_work_queue(made.id)
    assert [queue.name for queue in client.read_work_queues("p")] == ["urgent", "default"]
    assert len(client.read_work_queues()) == 4
    assert [queue.name for queue in client.match_work_queues(["urg", "ol"])] != []
    assert [queue.name for queue in client.match_work_queues(["urg", "ol"], "p")] == ["urgent"]
    assert client.get_runs_in_work_queue(made.id, scheduled_before=LATER) == []
    assert client.read_work_queue_status(made.id).late_runs_count == 0
    client.delete_work_queue_by_id(made.id)
    with pytest.raises(ObjectNotFound, match=f"{made.id}"):
        client.read_work_queue(made.id)


def test_what_is_not_there_says_so(client: SyncFlowyardClient) -> None:
    nobody = uuid4()
    with pytest.raises(ObjectNotFound, match=f"no deployment {nobody}"):
        client.create_flow_run_from_deployment(nobody)
    with pytest.raises(ObjectNotFound, match="no work pool 'nowhere'"):
        client.create_deployment(client.create_flow_from_name("f"), "d", work_pool_name="nowhere")
