"""Pages of lists that begin after an object: none twice, none missing, whatever is equal or made in between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

Make = Callable[[httpx.Client, int], object]
TIME = "2026-01-01T00:00:00+00:00"


class Listed(NamedTuple):
    """A list: where it is, what it is asked beside the page, and how its objects are made."""

    path: str
    make: Make
    body: Mapping[str, Any] = MappingProxyType({})
    begins_with: Callable[[httpx.Client], object] = lambda _: None


def post(path: str, body: Callable[[int], dict[str, Any]]) -> Make:
    def make(api: httpx.Client, number: int) -> object:
        answer = api.post(path, json=body(number))
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    return make


def flow(api: httpx.Client) -> str:
    return api.post("/flows/", json={"name": "etl"}).json()["id"]


def run_of_same_name(api: httpx.Client, number: int) -> object:
    return post("/flow_runs/", lambda _: {"flow_id": flow(api), "name": f"run-{number % 2}"})(api, number)


def task_run_of_same_name(api: httpx.Client, number: int) -> object:
    body = {"task_key": "t", "dynamic_key": str(uuid4()), "name": f"task-{number % 2}"}
    return post("/task_runs/", lambda _: {**body, "flow_run_id": None})(api, number)


def artifact(api: httpx.Client, number: int) -> object:
    return post("/artifacts/", lambda n: {"key": ("a", None)[n % 2], "type": "markdown", "data": "x"})(api, number)


def pool(api: httpx.Client) -> None:
    api.post("/work_pools/", json={"name": "pool", "type": "process"})


def block_kind(api: httpx.Client) -> dict[str, str]:
    api.post("/block_types/install_system_block_types")
    kind = api.get("/block_types/slug/secret").json()["id"]
    where = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
    return {"block_type_id": kind, "block_schema_id": api.post("/block_schemas/filter", json=where).json()[0]["id"]}


def block(api: httpx.Client, number: int) -> Any:
    body = {"name": f"block-{number}", "data": {"value": "x"}, **block_kind(api)}
    return post("/block_documents/", lambda _: body)(api, number)


def policy(api: httpx.Client, number: int) -> object:
    body = {"is_active": True, "state_names": [], "tags": [], "block_document_id": block(api, number)["id"]}
    return post("/flow_run_notification_policies/", lambda _: body)(api, number)


def saved_search(api: httpx.Client, number: int) -> object:
    return api.put("/saved_searches/", json={"name": f"search-{number}"}).json()


def automation(number: int) -> dict[str, Any]:
    trigger = {"type": "event", "posture": "Reactive", "expect": ["x"], "threshold": 1, "within": 10}
    return {"name": "same", "trigger": trigger, "actions": [{"type": "do-nothing"}]}


def line(number: int) -> Any:
    return [{"name": "x", "level": 20, "message": f"{number}", "timestamp": TIME}]


LISTS = [
    Listed("/flows", post("/flows/", lambda n: {"name": f"flow-{n}"})),
    Listed("/flows", post("/flows/", lambda n: {"name": f"flow-{n}"}), {"sort": "CREATED_DESC"}),
    Listed("/flow_runs", run_of_same_name, {"sort": "NAME_ASC"}),
    Listed("/flow_runs", run_of_same_name, {"sort": "NAME_DESC"}),
    Listed("/flow_runs", run_of_same_name, {"sort": "END_TIME_DESC"}),
    Listed("/task_runs", task_run_of_same_name, {"sort": "NAME_ASC", "task_runs": {"flow_run_id": {"is_null_": True}}}),
    Listed("/logs", post("/logs/", line)),
    Listed("/artifacts", artifact, {"sort": "KEY_ASC"}),
    Listed("/artifacts", artifact, {"sort": "KEY_DESC"}),
    Listed("/artifacts/latest", post("/artifacts/", lambda n: {"key": f"key-{n}"}), {"sort": "KEY_DESC"}),
    Listed("/variables", post("/variables/", lambda n: {"name": f"v{n}", "value": "x"})),
    Listed("/block_types", post("/block_types/", lambda n: {"name": f"T{n}", "slug": f"t{n}"})),
    Listed("/block_schemas", lambda _, __: None, {}, block_kind),
    Listed("/block_documents", block, {"sort": "BLOCK_TYPE_AND_NAME_ASC"}),
    Listed("/block_documents", block, {"sort": "NAME_DESC"}),
    Listed("/work_pools", post("/work_pools/", lambda n: {"name": f"pool-{n}", "type": "process"})),
    Listed("/work_pools/pool/queues", post("/work_pools/pool/queues", lambda n: {"name": f"queue-{n}"}), {}, pool),
    Listed("/work_queues", post("/work_queues/", lambda n: {"name": f"queue-{n}"})),
    Listed(
        "/work_pools/pool/workers",
        post("/work_pools/pool/workers/heartbeat", lambda n: {"name": f"worker-{n}"}),
        {},
        pool,
    ),
    Listed("/saved_searches", saved_search),
    Listed("/flow_run_notification_policies", policy),
    Listed("/automations", post("/automations/", automation)),
    Listed("/concurrency_limits", post("/concurrency_limits/", lambda n: {"tag": f"t{n}", "concurrency_limit": 1})),
    Listed("/v2/concurrency_limits", post("/v2/concurrency_limits/", lambda n: {"name": f"l{n}", "limit": 1})),
]


@pytest.mark.parametrize("listed", LISTS, ids=lambda one: f"{one.path[1:]}-{one.body.get('sort', '')}".rstrip("-"))
def test_pages_after_an_object_have_each_object_once(api: httpx.Client, listed: Listed) -> None:
    listed.begins_with(api)
    for number in (2, 5, 1, 4, 3):
        listed.make(api, number)

    def ids(**page: Any) -> list[str]:
        answer = api.post(f"{listed.path}/filter", json={**listed.body, **page})
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()]

    there = ids()
    assert len(there) >= 5
    found = ids(limit=2)
    while page := ids(limit=2, after=found[-1]):
        assert page[0] not in found
        # One that comes between, before or after, as its order will have it.
        if len(found) == 2:
            listed.make(api, 0)
            listed.make(api, 9)
        found += page
    assert [one for one in found if one in there] == there
    assert len(found) == len(set(found))
    if listed.path != "/logs":
        gone = api.post(f"{listed.path}/filter", json={**listed.body, "after": str(uuid4())})
        assert gone.status_code == 404
