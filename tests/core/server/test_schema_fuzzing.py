"""Requests made up from the server's own OpenAPI document, fitting and unfitting: none is answered with a 5xx.

Whatever they refer to exists: ids and names of objects that are there stand in the place of most of those made up, so
that requests get as far as the database. `FLOWYARD_FUZZ_SEED=N` makes up others.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from flowyard.testing.servers import DEADLINE, RunningServer

SEED = int(os.environ.get("FLOWYARD_FUZZ_SEED", "0"))
ALL_CHECKS: list[Any] = list(HealthCheck)
VERSION_HEADER = "x-prefect-api-version"
# The objects of `plant`: what a body refers to, by field, and the noun of a path whose id it is.
NOUN_OF = {
    "flow_id": "flows",
    "flow_run_id": "flow_runs",
    "parent_flow_run_id": "flow_runs",
    "task_run_id": "task_runs",
    "parent_task_run_id": "task_runs",
    "deployment_id": "deployments",
    "block_type_id": "block_types",
    "block_schema_id": "block_schemas",
    "block_document_id": "block_documents",
    "work_queue_id": "work_queues",
    "work_pool_id": "work_pools",
}
NAMES = {
    "flows": "etl",
    "variables": "answer",
    "work_pools": "pool",
    "work_queues": "queue",
    "queues": "queue",
    "tag": "tag",
    "slug": "thing",
    "block_document_name": "document",
    "flow_name": "etl",
    "deployment_name": "nightly",
    "work_pool_name": "pool",
    "id_or_name": "limit",
    "artifacts": "report",
    "flow_runs": "word",
}


def plant(api: httpx.Client) -> dict[str, str]:
    """Make an object of every noun, and return their ids by the noun in the path."""

    def make(path: str, method: str = "POST", **body: Any) -> Any:
        answer = api.request(method, path, json=body)
        assert answer.is_success, (path, answer.text)
        return answer.json() if answer.content else None

    ids: dict[str, str] = {}
    flow = make("/flows/", name="etl", tags=["a"])
    pool = make("/work_pools/", name="pool", type="process")
    queue = make("/work_pools/pool/queues", name="queue")
    schedules = [{"schedule": {"cron": "0 * * * *"}, "active": True}]
    deployment = make("/deployments/", name="nightly", flow_id=flow["id"], work_pool_name="pool", schedules=schedules)
    pending = {"type": "PENDING"}
    flow_run = make("/flow_runs/", flow_id=flow["id"], deployment_id=deployment["id"], state=pending)
    task_run = make("/task_runs/", flow_run_id=flow_run["id"], task_key="t", dynamic_key="0", state=pending)
    block_type = make("/block_types/", name="Thing", slug="thing")
    fields = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = make("/block_schemas/", block_type_id=block_type["id"], fields=fields)
    document = make(
        "/block_documents/",
        name="document",
        data={"a": "b"},
        block_type_id=block_type["id"],
        block_schema_id=schema["id"],
    )
    make("/v2/concurrency_limits/", name="limit", limit=3)
    make(f"/flow_runs/{flow_run['id']}/input", key="word", value="1")
    made = {
        "flows": flow,
        "work_pools": pool,
        "work_queues": queue,
        "deployments": deployment,
        "flow_runs": flow_run,
        "flow_run_states": flow_run["state"],
        "task_runs": task_run,
        "task_run_states": task_run["state"],
        "block_types": block_type,
        "block_schemas": schema,
        "block_documents": document,
        "concurrency_limits": make("/concurrency_limits/", tag="tag", concurrency_limit=3),
        "variables": make("/variables/", name="answer", value="42"),
        "artifacts": make("/artifacts/", key="report", type="markdown", data="x", flow_run_id=flow_run["id"]),
        "flow_run_notification_policies": make(
            "/flow_run_notification_policies/",
            is_active=True,
            state_names=[],
            tags=[],
            block_document_id=document["id"],
        ),
        "saved_searches": make("/saved_searches/", "PUT", name="mine", filters=[]),
        "automations": make(
            "/automations/",
            name="watch",
            trigger={"type": "event", "posture": "Reactive", "threshold": 1, "within": 0},
            actions=[{"type": "do-nothing"}],
        ),
    }
    ids.update((noun, each["id"]) for noun, each in made.items())
    ids["schedule_id"] = deployment["schedules"][0]["id"]
    ids["checksum"] = schema["checksum"]
    return ids


def existing(path: str, made_up: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
    """Return parameters of a path that lead to what was planted, as far as there is something."""
    noun = path.split("/")[2]
    found: dict[str, Any] = {}
    for name, value in made_up.items():
        before = path[: path.index(f"{{{name}}}")].rstrip("/").rsplit("/", 1)[-1]
        if name == "id":
            found[name] = ids.get(noun, value)
        elif name in ("name", "key"):
            found[name] = NAMES.get(noun if before == "name" or name == "key" else before, value)
        else:
            found[name] = ids.get(name) or NAMES.get(name, value)
    return found


def referring(value: Any, ids: dict[str, str]) -> Any:
    """Return a body whose references are to what was planted."""
    if isinstance(value, dict):
        return {
            name: ids[NOUN_OF[name]] if name in NOUN_OF and isinstance(item, str) else referring(item, ids)
            for name, item in cast("dict[str, Any]", value).items()
        }
    if isinstance(value, list):
        return [referring(item, ids) for item in cast("list[Any]", value)]
    return value


def for_each_case(operation: Any, ids: dict[str, str], examples: int, act: Callable[[Any], None]) -> None:
    """Make requests up for an operation, the same ones for a seed."""
    fitting = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    unfitting = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @seed(SEED)
    @hypothesis_settings(
        max_examples=examples, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=ALL_CHECKS
    )
    @given(case=st.one_of(fitting, fitting, unfitting), made_up=st.integers(0, 3), with_version=st.integers(0, 9))
    def make(case: Any, made_up: int, with_version: int) -> None:
        if with_version and case.headers:
            case.headers.pop(VERSION_HEADER, None)  # a wrong one is all that the server would look at
        if made_up:
            if case.path_parameters:
                case.path_parameters = existing(operation.path, dict(case.path_parameters), ids)
            case.body = referring(case.body, ids)
        act(case)

    make()


def fuzz(server: RunningServer, api: httpx.Client, examples: int) -> tuple[list[str], Counter[int]]:
    """Send requests to every operation; return those that the server could not answer, and how it answered all."""
    ids = plant(api)
    schema: Any = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]
    # What deletes comes last, and what deletes everything last of all.
    operations.sort(key=lambda each: (each.path.startswith("/api/admin"), each.method == "delete"))
    problems: list[str] = []
    answers: Counter[int] = Counter()
    with requests.Session() as session:
        for operation in operations:

            def send(case: Any, operation: Any = operation) -> None:
                answer = case.call(session=session, timeout=DEADLINE)
                answers[answer.status_code] += 1
                if answer.status_code >= 500:
                    problems.append(f"{answer.status_code}: {case.as_curl_command()}")

            for_each_case(operation, ids, examples, send)
    return problems, answers


@pytest.mark.timeout(400)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_no_request_of_the_document_fails_the_server(server: RunningServer, api: httpx.Client) -> None:
    problems, answers = fuzz(server, api, 3)
    assert problems == []
    # The requests reach what they are for.
    assert answers[200] + answers[201] + answers[204] > answers.total() / 5


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_request_of_many_fails_the_server(server: RunningServer, api: httpx.Client) -> None:
    problems, answers = fuzz(server, api, 100)
    assert problems == []
    assert answers[200] + answers[201] + answers[204] > answers.total() / 5
