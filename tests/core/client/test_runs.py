from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from flowyard import flow, task
from flowyard.client import SyncFlowyardClient
from flowyard.client.schemas.actions import LogCreate
from flowyard.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
    TaskRunFilter,
)
from flowyard.client.schemas.objects import Constant, TaskRunResult
from flowyard.client.schemas.responses import SetStateStatus
from flowyard.client.schemas.sorting import FlowRunSort, FlowSort, LogSort, TaskRunSort
from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.states import Completed, Failed, Paused, Pending, Running, Scheduled

EVERY_WAY = pytest.mark.parametrize("client", ["async", "sync", "async over HTTP", "sync over HTTP"], indirect=True)
NOBODY = uuid4()


@flow(name="add up", retries=2, retry_delay_seconds=0.5)
def add_up(numbers: list[int]) -> int:
    return sum(numbers)


@task(tags=["t"], retries=1, retry_delay_seconds=[1, 2])
def add(a: int, b: int) -> int:
    return a + b


@EVERY_WAY
def test_flow_runs_are_made_changed_read_and_deleted(client: SyncFlowyardClient) -> None:
    flow_id = client.create_flow_from_name("add up")
    assert client.create_flow(add_up) == flow_id
    run = client.create_flow_run(add_up, name="first", parameters={"numbers": [1, 2]}, tags=["a"], context={"k": 1})
    assert (run.flow_id, run.name, run.parameters, run.tags) == (flow_id, "first", {"numbers": [1, 2]}, ["a"])
    assert (run.empirical_policy.retries, run.empirical_policy.retry_delay) == (2, 0.5)
    assert run.state is not None
    assert run.state.is_pending()

    later = client.create_flow_run(add_up, state=Scheduled())
    client.update_flow_run(later.id, name="second", tags=["b"], parameters={"numbers": []}, flow_version="7")
    assert [(each.name, each.flow_version) for each in client.read_flow_runs()] == [
        ("second", "7"),
        ("first", add_up.version),
    ]
    by_name = client.read_flow_runs(
        flow_filter=FlowFilter(name=FlowFilterName(any_=["add up"])), sort=FlowRunSort.NAME_ASC, limit=1
    )
    assert [each.id for each in by_name] == [client.read_flow_run(run.id).id]
    assert client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[NOBODY]))) == []

    result = client.set_flow_run_state(run.id, Running())
    assert result.status is SetStateStatus.ACCEPT
    refused = client.set_flow_run_state(run.id, Pending())
    assert (refused.status, refused.details.type) == (SetStateStatus.ABORT, "abort_details")
    client.set_flow_run_state(run.id, Completed(message="done"))
    states = client.read_flow_run_states(run.id)
    assert [state.name for state in states] == ["Pending", "Running", "Completed"]
    assert states[-1].state_details.flow_run_id == run.id
    assert states[-1] == client.read_flow_run(run.id).state
    assert client.set_flow_run_state(run.id, Failed(), force=True).status is SetStateStatus.ACCEPT

    client.delete_flow_run(run.id)
    for call in (client.read_flow_run, client.delete_flow_run):
        with pytest.raises(ObjectNotFound, match=f"no flow run {run.id}"):
            call(run.id)


def test_the_same_proposal_sent_twice_counts_once(client: SyncFlowyardClient) -> None:
    run = client.create_flow_run(add_up.with_options(retries=0), state=Running())
    client.set_flow_run_state(run.id, Failed())
    accepted = client.read_flow_run(run.id).state
    assert accepted is not None
    again = client.set_flow_run_state(run.id, accepted)
    assert again.status is SetStateStatus.REJECT
    assert len(client.read_flow_run_states(run.id)) == 2


def test_flows_are_found_by_id_by_name_and_by_what_belongs_to_them(client: SyncFlowyardClient) -> None:
    ids = {name: client.create_flow_from_name(name) for name in ("b", "a", "c d")}
    assert [found.name for found in client.read_flows(sort=FlowSort.NAME_ASC)] == ["a", "b", "c d"]
    assert [found.name for found in client.read_flows(sort=FlowSort.NAME_DESC, limit=1, offset=1)] == ["b"]
    assert client.read_flow_by_name("a") == client.read_flow(ids["a"])
    client.delete_flow(ids["a"])
    with pytest.raises(ObjectNotFound, match="no flow 'a'"):
        client.read_flow_by_name("a")


@EVERY_WAY
def test_task_runs_are_made_changed_read_and_deleted(client: SyncFlowyardClient) -> None:
    flow_run = client.create_flow_run(add_up, state=Running())
    first = client.create_task_run(add, flow_run.id, "0", extra_tags=["u"], task_inputs={"a": [Constant(type="int")]})
    assert (first.name, first.task_key, first.tags) == ("add-0", add.task_key, ["t", "u"])
    assert first.empirical_policy.retry_delay == [1, 2]
    assert client.create_task_run(add, flow_run.id, "0").id == first.id, "a task run of that key is there"
    inputs = {"a": [TaskRunResult(id=first.id)]}
    second = client.create_task_run(add, flow_run.id, "1", name="other", state=Running(), task_inputs=inputs)
    assert second.task_inputs == inputs

    client.set_task_run_name(second.id, "renamed")
    by_name = client.read_task_runs(sort=TaskRunSort.NAME_ASC)
    assert [(run.name, run.state_name) for run in by_name] == [("add-0", "Pending"), ("renamed", "Running")]
    where = TaskRunFilter.model_validate({"name": {"any_": ["renamed"]}})
    assert [run.id for run in client.read_task_runs(task_run_filter=where)] == [second.id]
    assert client.read_task_run(second.id).name == "renamed"
    assert client.set_task_run_state(second.id, Completed()).status is SetStateStatus.ACCEPT
    assert [state.name for state in client.read_task_run_states(second.id)] == ["Running", "Completed"]
    client.delete_task_run(second.id)
    with pytest.raises(ObjectNotFound, match="no task run"):
        client.read_task_run(second.id)


def test_log_lines_are_stored_and_read_in_both_orders(client: SyncFlowyardClient) -> None:
    run = client.create_flow_run(add_up)
    now = datetime.now(UTC)
    line = LogCreate(name="l", level=20, message="typed", timestamp=now, flow_run_id=run.id)
    client.create_logs([line, {**line.model_dump(), "message": "plain", "flow_run_id": f"{run.id}"}])
    where = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    assert {found.message for found in client.read_logs(where)} == {"typed", "plain"}
    assert len(client.read_logs(where, limit=1, offset=1, sort=LogSort.TIMESTAMP_DESC)) == 1


def test_a_paused_flow_run_gets_input_and_goes_on(client: SyncFlowyardClient) -> None:
    run = client.create_flow_run(add_up, state=Running())
    client.set_flow_run_state(run.id, Paused(timeout_seconds=60))
    client.create_flow_run_input(run.id, "k/1", '{"x": 1}', sender="me")
    client.create_flow_run_input(run.id, "k/2", "2")
    with pytest.raises(ObjectAlreadyExists, match="k/2"):
        client.create_flow_run_input(run.id, "k/2", "2")
    found = client.filter_flow_run_input(run.id, "k/", 10, {"k/2"})
    assert [(each.key, each.sender) for each in found] == [("k/1", "me")]
    assert client.resume_flow_run(run.id).status is SetStateStatus.ACCEPT


def test_an_input_is_read_and_deleted_by_its_key(client: SyncFlowyardClient) -> None:
    run = client.create_flow_run(add_up)
    client.create_flow_run_input(run.id, "k 1", "text")
    assert client.read_flow_run_input(run.id, "k 1") == "text"
    client.delete_flow_run_input(run.id, "k 1")
    with pytest.raises(ObjectNotFound, match="k 1"):
        client.read_flow_run_input(run.id, "k 1")


def test_a_value_that_was_persisted_is_read_from_a_state(client: SyncFlowyardClient) -> None:
    kept = add_up.with_options(persist_result=True)
    assert kept([1, 2, 3]) == 6
    (run,) = client.read_flow_runs()
    assert run.state is not None
    assert run.state.result() == 6
