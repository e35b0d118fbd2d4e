from __future__ import annotations

from uuid import uuid4

import pytest
from pydantic import SecretStr

from flowyard.client import SyncFlowyardClient
from flowyard.client.base import FlowyardHTTPStatusError
from flowyard.client.schemas.actions import (
    ArtifactCreate,
    BlockDocumentCreate,
    BlockDocumentUpdate,
    BlockSchemaCreate,
    BlockTypeCreate,
    BlockTypeUpdate,
    GlobalConcurrencyLimitCreate,
    GlobalConcurrencyLimitUpdate,
    VariableCreate,
    VariableUpdate,
)
from flowyard.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunNotificationPolicyFilter,
)
from flowyard.client.schemas.sorting import ArtifactSort
from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.schemas.api.automations import AutomationCore

EVERY_WAY = pytest.mark.parametrize("client", ["async", "sync", "async over HTTP", "sync over HTTP"], indirect=True)


@EVERY_WAY
def test_blocks_are_registered_saved_loaded_and_deleted(client: SyncFlowyardClient) -> None:
    kind = client.create_block_type(BlockTypeCreate(name="My Kind", slug="my-kind"))
    with pytest.raises(ObjectAlreadyExists, match="my-kind"):
        client.create_block_type(BlockTypeCreate(name="My Kind", slug="my-kind"))
    client.update_block_type(kind.id, BlockTypeUpdate(description="d"))
    assert client.read_block_type_by_slug("my-kind").description == "d"
    assert kind.id in {each.id for each in client.read_block_types()}

    fields = {"title": "MyKind", "properties": {"host": {"type": "string"}}, "block_type_slug": "my-kind"}
    schema = client.create_block_schema(BlockSchemaCreate(block_type_id=kind.id, fields=fields, capabilities=["fly"]))
    assert client.read_block_schema_by_checksum(schema.checksum).id == schema.id
    assert client.get_most_recent_block_schema_for_block_type(kind.id) == client.read_block_schemas()[0]
    assert client.get_most_recent_block_schema_for_block_type(uuid4()) is None

    body = BlockDocumentCreate(
        name="mine",
        data={"host": "h", "deep": {"password": SecretStr("s3cret")}},
        block_schema_id=schema.id,
        block_type_id=kind.id,
    )
    made = client.create_block_document(body)
    with pytest.raises(ObjectAlreadyExists, match="mine"):
        client.create_block_document(body)
    assert client.read_block_document(made.id).data["deep"] == {"password": "s3cret"}
    assert client.read_block_document(made.id, include_secrets=False).data["deep"] == {"password": "********"}
    client.update_block_document(made.id, BlockDocumentUpdate(data={"host": "other"}))
    loaded = client.read_block_document_by_name("mine", "my-kind")
    assert loaded.data == {"host": "other", "deep": {"password": "s3cret"}}
    assert [each.id for each in client.read_block_documents("fly")] == [made.id]
    assert client.read_block_documents("swim") == []
    assert [each.data["host"] for each in client.read_block_documents_by_type("my-kind", limit=5)] == ["other"]
    client.delete_block_document(made.id)
    with pytest.raises(ObjectNotFound, match="my-kind/mine"):
        client.read_block_document_by_name("mine", "my-kind")
    client.delete_block_type(kind.id)
    with pytest.raises(ObjectNotFound, match="my-kind"):
        client.read_block_type_by_slug("my-kind")


def test_limits_of_tags_are_made_read_reset_and_deleted(client: SyncFlowyardClient) -> None:
    client.create_concurrency_limit("db/main", 2)
    holder = uuid4()
    client.reset_concurrency_limit_by_tag("db/main", slot_override=[holder, f"{uuid4()}"])
    limit = client.read_concurrency_limit_by_tag("db/main")
    assert limit.concurrency_limit == 2
    assert holder in limit.active_slots
    assert [each.tag for each in client.read_concurrency_limits(limit=10, offset=0)] == ["db/main"]
    client.delete_concurrency_limit_by_tag("db/main")
    with pytest.raises(ObjectNotFound, match="db/main"):
        client.read_concurrency_limit_by_tag("db/main")


@EVERY_WAY
def test_slots_of_global_limits_are_taken_all_or_none(client: SyncFlowyardClient) -> None:
    client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="one", limit=1))
    with pytest.raises(ObjectAlreadyExists, match="'one'"):
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="one", limit=1))
    taken = client.increment_concurrency_slots(["one"], 1, "concurrency").json()
    assert [(each["name"], each["limit"]) for each in taken] == [("one", 1)]
    with pytest.raises(FlowyardHTTPStatusError, match="Locked") as full:
        client.increment_concurrency_slots(["one"], 1, "concurrency")
    assert full.value.response.status_code == 423
    assert float(full.value.response.headers["Retry-After"]) > 0
    client.release_concurrency_slots(["one"], 1, occupancy_seconds=0.5)
    client.update_global_concurrency_limit("one", GlobalConcurrencyLimitUpdate(limit=5))
    found = client.read_global_concurrency_limit_by_name("one")
    assert (found.limit, found.active_slots) == (5, 0)
    assert client.read_global_concurrency_limits() == [found]
    client.delete_global_concurrency_limit_by_name("one")
    with pytest.raises(ObjectNotFound, match="'one'"):
        client.read_global_concurrency_limit_by_name("one")


def test_artifacts_have_a_latest_version_of_each_key(client: SyncFlowyardClient) -> None:
    client.create_artifact(ArtifactCreate(key="report", type="markdown", data="# 1"))
    second = client.create_artifact(ArtifactCreate(key="report", type="markdown", data="# 2"))
    where = ArtifactFilter(key=ArtifactFilterKey(any_=["report"]))
    found = client.read_artifacts(artifact_filter=where, sort=ArtifactSort.ID_DESC)
    assert [each.data for each in found] == ["# 2", "# 1"]
    assert [each.latest_id for each in client.read_latest_artifacts()] == [second.id]
    client.delete_artifact(second.id)
    assert [each.data for each in client.read_latest_artifacts()] == ["# 1"]


def test_variables_are_made_changed_read_and_deleted(client: SyncFlowyardClient) -> None:
    client.create_variable(VariableCreate(name="answer", value="41", tags=["t"]))
    with pytest.raises(ObjectAlreadyExists, match="answer"):
        client.create_variable(VariableCreate(name="answer", value="41"))
    client.update_variable(VariableUpdate(name="answer", value="42"))
    found = client.read_variable_by_name("answer")
    assert found is not None
    assert (found.value, found.tags) == ("42", ["t"])
    assert client.read_variables(limit=5) == [found]
    client.delete_variable_by_name("answer")
    assert client.read_variable_by_name("answer") is None


def test_automations_are_made_switched_off_found_and_deleted(client: SyncFlowyardClient) -> None:
    trigger = {"type": "event", "expect": ["x"], "posture": "Reactive", "threshold": 1, "within": 0}
    core = AutomationCore.model_validate({"name": "mine", "trigger": trigger, "actions": [{"type": "do-nothing"}]})
    made = client.create_automation(core)
    found = client.read_automation(made)
    assert found is not None
    assert client.read_automations() == client.read_automations_by_name("mine") == [found]
    client.pause_automation(made)
    found = client.find_automation(f"{made}")
    assert found is not None
    assert not found.enabled
    client.resume_automation(made)
    found.description = "changed"
    client.update_automation(made, found)
    changed = client.find_automation("mine")
    assert changed is not None
    assert changed.description == "changed"
    client.create_automation(core)
    with pytest.raises(ValueError, match="2 automations have the name 'mine'"):
        client.find_automation("mine")
    assert client.read_resource_related_automations("prefect.deployment.x") == []
    client.delete_resource_owned_automations("prefect.deployment.x")
    for each in client.read_automations():
        client.delete_automation(each.id)
        client.delete_automation(each.id)
    assert client.read_automation(made) is None
    assert client.find_automation("mine", exit_if_not_found=False) is None
    with pytest.raises(ObjectNotFound, match="'mine'"):
        client.find_automation("mine")


def test_notification_policies_are_made_changed_and_deleted(client: SyncFlowyardClient) -> None:
    kind = client.create_block_type(BlockTypeCreate(name="N", slug="n"))
    schema = client.create_block_schema(BlockSchemaCreate(block_type_id=kind.id))
    block = client.create_block_document(
        BlockDocumentCreate(name="b", block_schema_id=schema.id, block_type_id=kind.id)
    )
    made = client.create_flow_run_notification_policy(block.id, state_names=["Failed"])
    client.update_flow_run_notification_policy(made, is_active=False, tags=["t"])
    (policy,) = client.read_flow_run_notification_policies(FlowRunNotificationPolicyFilter())
    assert (policy.is_active, policy.tags, policy.state_names) == (False, ["t"], ["Failed"])
    client.delete_flow_run_notification_policy(made)
    with pytest.raises(ObjectNotFound, match="notification policy"):
        client.delete_flow_run_notification_policy(made)


def test_the_api_says_that_it_is_there(client: SyncFlowyardClient) -> None:
    assert client.api_healthcheck() is None
    assert client.hello().status_code == 200
    assert "process" in str(client.read_worker_metadata())
