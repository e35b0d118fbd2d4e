"""Endpoints that are called without FastAPI's solver answer as they do with it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import pytest
from fastapi import Response
from starlette.types import Receive, Scope

from flowyard.server.direct import Direct

T = TypeVar("T")
JSON = {"content-type": "application/json"}
# What no two answers have in common.
_OWN = frozenset(
    {
        *("id", "state_id", "timestamp", "name", "flow_run_id", "created", "updated"),
        *("expected_start_time", "start_time", "estimated_run_time", "estimated_start_time_delta"),
    }
)
_STATE = {"state": {"type": "RUNNING"}}
_BODIES: dict[str, tuple[bytes, Mapping[str, str]]] = {
    "usual": (json.dumps(_STATE).encode(), JSON),
    "with a character set": (json.dumps(_STATE).encode(), {"content-type": "application/json; charset=utf-8"}),
    "null for a default": (json.dumps({**_STATE, "force": None}).encode(), JSON),
    "of another type": (json.dumps({**_STATE, "force": "perhaps"}).encode(), JSON),
    "text for a truth": (json.dumps({**_STATE, "force": "true"}).encode(), JSON),
    "more than is known": (json.dumps({**_STATE, "farce": 1}).encode(), JSON),
    "without what is needed": (b"{}", JSON),
    "a list": (b"[]", JSON),
    "nothing": (b"", JSON),
    "no JSON": (b'{"state": ', JSON),
    "no text": (b'{"state": {"name": "\xff"}}', JSON),
    "a number too long": (b'{"state": ' + b"1" * 5000 + b"}", JSON),
    "deep": (b'{"state": {"type": "RUNNING", "data": ' + b"[" * 300 + b"]" * 300 + b"}}", JSON),
    "half a character": (b'{"state": {"type": "RUNNING", "message": "\\ud800"}}', JSON),
    "of no type": (json.dumps(_STATE).encode(), {}),
    "of another content type": (json.dumps(_STATE).encode(), {"content-type": "text/plain"}),
    "an old version": (json.dumps(_STATE).encode(), {**JSON, "x-prefect-api-version": "0.1.0"}),
    "a version that is none": (json.dumps(_STATE).encode(), {**JSON, "x-prefect-api-version": "new"}),
    "a version": (json.dumps(_STATE).encode(), {**JSON, "x-prefect-api-version": "0.8.4"}),
    "an automation that is none": (json.dumps(_STATE).encode(), {**JSON, "prefect-automation-id": "x"}),
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each request since was answered directly."""
    found: list[bool] = []
    answer = Direct.answer

    async def noting(self: Direct, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
        done = await answer(self, scope, receive)
        found.append(done[0] is not None)
        return done

    monkeypatch.setattr(Direct, "answer", noting)
    return found


def solved(monkeypatch: pytest.MonkeyPatch, act: Callable[[], T]) -> T:
    """Return what is answered by way of FastAPI's solver."""

    def nothing(_: Direct, __: Scope, receive: Receive) -> Awaitable[tuple[None, Receive]]:
        async def leave() -> tuple[None, Receive]:
            return None, receive

        return leave()

    with monkeypatch.context() as patch:
        patch.setattr(Direct, "answer", nothing)
        return act()


def common(value: Any) -> Any:
    """Return an answer without what is different each time."""
    if isinstance(value, dict):
        return {name: common(item) for name, item in value.items() if name not in _OWN}
    return [common(item) for item in value] if isinstance(value, list) else value


def what_is_said(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, common(answer.json())


@pytest.mark.parametrize("path", ["/flow_runs/{id}/set_state", "/flow_runs/", "/flow_runs/x/set_state"])
def test_a_request_is_answered_as_by_fastapi(api: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]

    def ask(content: bytes, headers: Mapping[str, str]) -> tuple[int, Any]:
        run_id = api.post("/flow_runs/", json={"flow_id": flow_id}).json()["id"]
        if path == "/flow_runs/":
            content = content.replace(b'"state": {', f'"flow_id": "{flow_id}", "state": {{'.encode())
        return what_is_said(api.post(path.replace("{id}", run_id), content=content, headers=headers))

    directly = {name: ask(*sent) for name, sent in _BODIES.items()}
    by_fastapi = {name: solved(monkeypatch, partial(ask, *sent)) for name, sent in _BODIES.items()}
    assert directly == by_fastapi


def test_the_usual_requests_of_a_client_are_answered_directly(api: httpx.Client, answers: list[bool]) -> None:
    flow_id = api.post("/flows/", json={"name": "etl"}).json()["id"]
    answers.clear()
    run = api.post("/flow_runs/", json={"flow_id": flow_id}).json()
    api.post(f"/flow_runs/{run['id']}/set_state", json=_STATE)
    api.get(f"/flow_runs/{run['id']}")
    keys = {"flow_run_id": run["id"], "task_key": "load", "dynamic_key": "0"}
    task_run = api.post("/task_runs/", json=keys).json()
    api.post(f"/task_runs/{task_run['id']}/set_state", json=_STATE)
    assert answers == [True] * 5


def test_what_is_not_there_is_said_in_the_words_of_each_route(api: httpx.Client, answers: list[bool]) -> None:
    nobody = uuid4()
    assert api.get(f"/flow_runs/{nobody}").status_code == 404
    assert api.post(f"/flow_runs/{nobody}/set_state", json=_STATE).json().keys() == {"exception_message"}
    assert api.post("/flow_runs/", json={"flow_id": str(nobody)}).status_code == 409
    assert answers == [True]  # the others were ended by what they raised


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/version", 200), ("/hello", 400)])
def test_a_client_of_any_version_learns_that_the_server_answers(api: httpx.Client, path: str, status: int) -> None:
    assert api.get(path, headers={"x-prefect-api-version": "0.1.0"}).status_code == status
