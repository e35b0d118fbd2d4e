"""The routes of saved searches, notification policies, automations, collections, templates, CSRF and administration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest

from flowyard.settings import Settings


def test_a_saved_search_is_replaced_by_name(api: httpx.Client) -> None:
    condition = {"object": "flow_run", "property": "name", "type": "string", "operation": "contains", "value": "x"}
    made = api.put("/saved_searches/", json={"name": "mine", "filters": [condition]})
    again = api.put("/saved_searches/", json={"name": "mine"})
    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json()["filters"] == [condition]
    assert (again.json()["id"], again.json()["filters"]) == (made.json()["id"], [])
    assert api.post("/saved_searches/filter", json={}).json() == [again.json()]
    path = f"/saved_searches/{made.json()['id']}"
    assert api.get(path).json() == again.json()
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404


def test_a_notification_policy_is_made_listed_changed_and_deleted(api: httpx.Client) -> None:
    api.post("/block_types/install_system_block_types")
    kind = api.get("/block_types/slug/webhook").json()
    schema = api.post("/block_schemas/filter", json={"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}).json()
    block = {"name": "hook", "data": {}, "block_schema_id": schema[0]["id"], "block_type_id": kind["id"]}
    body = {
        "state_names": ["Failed"],
        "tags": ["etl"],
        "block_document_id": api.post("/block_documents/", json=block).json()["id"],
        "message_template": "{flow_run_name} is {flow_run_state_name}",
    }
    base = "/flow_run_notification_policies"
    made = api.post(f"{base}/", json=body)
    assert made.status_code == 201
    path = f"{base}/{made.json()['id']}"
    assert api.get(path).json() == made.json()
    assert api.post(f"{base}/", json={**body, "block_document_id": str(uuid4())}).status_code == 409
    assert api.post(f"{base}/", json={**body, "message_template": "{nothing}"}).status_code == 422
    assert api.patch(path, json={"is_active": False, "message_template": None}).status_code == 204
    only_active = {"flow_run_notification_policy_filter": {"is_active": {"eq_": True}}}
    assert api.post(f"{base}/filter", json=only_active).json() == []
    found = api.post(f"{base}/filter", json={}).json()
    assert [(each["is_active"], each["message_template"], each["tags"]) for each in found] == [(False, None, ["etl"])]
    assert api.delete(path).status_code == 204
    assert api.patch(path, json={"is_active": True}).status_code == 404


DEPLOYMENT = str(uuid4())


def _automation(name: str = "late", **more: Any) -> dict[str, Any]:
    trigger = {
        "type": "event",
        "match": {"prefect.resource.id": "prefect.work-pool.main"},
        "expect": ["prefect.flow-run.Failed"],
        "posture": "Reactive",
        "threshold": 3,
        "within": 60,
    }
    actions = [{"type": "run-deployment", "deployment_id": DEPLOYMENT}]
    return {
        "name": name,
        "trigger": {"type": "compound", "triggers": [trigger], "require": "all"},
        "actions": actions,
    } | more


def test_an_automation_is_made_changed_and_deleted(api: httpx.Client) -> None:
    made = api.post("/automations/", json=_automation())
    assert made.status_code == 201
    automation = made.json()
    assert automation["trigger"]["triggers"][0]["within"] == 60.0
    path = f"/automations/{automation['id']}"
    assert api.get(path).json() == automation
    assert api.patch(path, json={"enabled": False}).status_code == 204
    assert api.get(path).json()["enabled"] is False
    assert api.put(path, json=_automation("other", actions=[{"type": "do-nothing"}])).status_code == 204
    changed = api.get(path).json()
    assert (changed["name"], changed["enabled"], changed["actions"]) == ("other", True, [{"type": "do-nothing"}])
    assert api.delete(path).status_code == 204
    for answer in (api.get(path), api.delete(path), api.patch(path, json={}), api.put(path, json=_automation())):
        assert answer.status_code == 404


def test_automations_are_listed_by_themselves_and_by_their_resources(api: httpx.Client) -> None:
    owner = "prefect.deployment.mine"
    api.post("/automations/", json=_automation("b", owner_resource=owner))
    api.post("/automations/", json=_automation("a", actions=[{"type": "do-nothing"}]))

    def names(answer: httpx.Response) -> list[str]:
        return [each["name"] for each in answer.json()]

    assert names(api.post("/automations/filter", json={})) == ["a", "b"]
    assert names(api.post("/automations/filter", json={"automations": {"name": {"any_": ["b"]}}})) == ["b"]
    assert api.post("/automations/count").json() == 2
    assert names(api.get(f"/automations/related-to/prefect.deployment.{DEPLOYMENT}")) == ["b"]
    assert names(api.get("/automations/related-to/prefect.work-pool.main")) == ["a", "b"]
    assert api.delete(f"/automations/owned-by/{owner}").status_code == 202
    assert names(api.post("/automations/filter", json={})) == ["a"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"actions": [{"type": "run-deployment", "source": "selected"}]},
        {"actions": [{"type": "pause-work-pool", "source": "inferred", "work_pool_id": DEPLOYMENT}]},
        {"actions": [{"type": "dance"}]},
        {"trigger": {"type": "event", "posture": "Proactive", "within": 1}},
        {"trigger": {"type": "compound", "triggers": [], "require": 1}},
    ],
    ids=["no-target", "two-targets", "unknown-action", "too-soon", "too-few"],
)
def test_an_automation_that_cannot_work_is_refused(api: httpx.Client, wrong: dict[str, Any]) -> None:
    assert api.post("/automations/", json=_automation(**wrong)).status_code == 422


def test_what_is_installed_is_told_as_collections(api: httpx.Client) -> None:
    workers = api.get("/collections/views/aggregate-worker-metadata").json()
    template = workers["prefect"]["process"]["default_base_job_configuration"]
    assert set(template["job_configuration"]) == set(template["variables"]["properties"])
    api.post("/block_types/install_system_block_types")
    blocks = api.get("/collections/views/aggregate-block-metadata").json()
    assert blocks["flowyard"]["block_types"]["secret"]["block_schema"]["checksum"].startswith("sha256:")
    assert api.get("/collections/views/demo-flows").json() == {}
    assert api.get("/collections/views/nothing").status_code == 404


def test_a_template_is_read_and_not_run(api: httpx.Client) -> None:
    assert api.post("/templates/validate", json="{{ 1 / 0 }}").status_code == 204
    refused = api.post("/templates/validate", json="fine\n{{ flow.name ")
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert (error["line"], error["source"]) == (2, "fine\n{{ flow.name ")


def test_values_are_held_to_a_schema(api: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["n"],
    }

    def check(values: object) -> Any:
        return api.post("/ui/schemas/validate", json={"schema": schema, "values": values}).json()

    assert check({"n": 1, "tags": ["x"]}) == {"errors": [], "valid": True}
    wrong = check({"tags": ["x", 2]})
    assert wrong["valid"] is False
    by_name = {error["property"]: error["errors"] for error in wrong["errors"]}
    assert "required" in by_name["n"][0]
    assert by_name["tags"][0]["index"] == 1
    assert api.post("/ui/schemas/validate", json={"schema": {"type": 7}, "values": {}}).status_code == 422


def test_a_change_needs_a_token_when_the_settings_say_so(settings: Settings, serve: Callable[[Settings], Any]) -> None:
    protected = settings.copy_with_update({Settings.FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED: True})
    with httpx.Client(base_url=f"{serve(protected).address}/api", timeout=20.0) as api:
        body = {"name": "etl"}
        assert api.post("/flows/", json=body).json() == {"detail": "Missing CSRF token."}
        token = api.get("/csrf-token", params={"client": "me"}).json()
        assert len(token["token"]) == 64
        headers = {"Prefect-Csrf-Token": token["token"]}
        assert api.post("/flows/", json=body, headers=headers).json() == {"detail": "Missing client identifier."}
        refused = api.post("/flows/", json=body, headers={**headers, "Prefect-Csrf-Client": "you"})
        assert (refused.status_code, "Invalid CSRF token" in refused.json()["detail"]) == (403, True)
        mine = {**headers, "Prefect-Csrf-Client": "me"}
        assert api.post("/flows/", json=body, headers=mine).status_code == 201
        assert api.get("/flows/name/etl").status_code == 200
        api.get("/csrf-token", params={"client": "me"})
        assert api.post("/flows/", json=body, headers=mine).status_code == 403


def test_no_tokens_are_given_out_when_nobody_asks_for_them(api: httpx.Client) -> None:
    answer = api.get("/csrf-token", params={"client": "me"})
    assert (answer.status_code, answer.json()) == (422, {"detail": "CSRF protection is disabled."})


def test_the_settings_of_the_server_are_shown_without_secrets(
    settings: Settings, serve: Callable[[Settings], Any]
) -> None:
    secret = settings.copy_with_update({Settings.FLOWYARD_API_KEY: "hush"})
    shown = httpx.get(f"{serve(secret).address}/api/admin/settings", timeout=20.0).json()
    assert shown["FLOWYARD_API_KEY"] == shown["PREFECT_API_KEY"] == "********"
    assert shown["PREFECT_API_DEFAULT_LIMIT"] == 200
    assert "hush" not in str(shown)


def test_the_database_is_cleared_dropped_and_created_by_who_confirms(api: httpx.Client) -> None:
    api.post("/flows/", json={"name": "etl"})
    assert api.post("/admin/database/clear").status_code == 400
    assert api.post("/flows/count").json() == 1
    assert api.post("/admin/database/clear", json={"confirm": True}).status_code == 204
    assert api.post("/flows/count").json() == 0
    assert api.post("/admin/database/drop", json={"confirm": True}).status_code == 204
    assert api.post("/admin/database/create", json={"confirm": True}).status_code == 204
    assert api.post("/flows/", json={"name": "etl"}).status_code == 201
