from __future__ import annotations

import asyncio
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowyard import flow, task
from flowyard.client import FlowyardClient, PrefectClient, SyncFlowyardClient, SyncPrefectClient, get_client
from flowyard.client.base import FlowyardHTTPStatusError
from flowyard.client.calling import finished
from flowyard.client.orchestration import ServerType
from flowyard.exceptions import ServerAway
from flowyard.local.backend import LocalBackend
from flowyard.process.backends import PROCESS, close_backends
from flowyard.schemas.requests import ApiRequest
from flowyard.server.app import create_app
from flowyard.settings import FLOWYARD_API_KEY, FLOWYARD_API_URL, FLOWYARD_HOME, Settings, temporary_settings
from flowyard.task_runners import ProcessPoolTaskRunner
from flowyard.testing.servers import serving

HERE = Path(__file__).parent
SURFACE = [line for line in (HERE / "prefect_client.txt").read_text().splitlines() if line]
# What Prefect 2's client has and ours has not, and why.
NOT_THERE = {
    "resolve_datadoc": "data documents were deprecated in Prefect 2.6; no state here ever had one",
}


@pytest.fixture
def embedded(home: Path) -> Iterator[None]:
    """A home of this test's own."""
    with temporary_settings({FLOWYARD_HOME: home}):
        yield
        close_backends()


def written(kind: type, name: str) -> str:
    """Return a method as the list of Prefect 2's has it: names, order and defaults of its parameters."""
    parts: list[str] = []
    is_keyword_only = False
    for parameter in list(inspect.signature(getattr(kind, name)).parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            parts.append("*")
        default = parameter.default
        text = f"**{parameter.name}" if parameter.kind is parameter.VAR_KEYWORD else parameter.name
        if default is not parameter.empty:
            shown = f"{type(default).__name__}.{default.name}" if hasattr(default, "name") else repr(default)
            text = f"{text}={shown}"
        parts.append(text)
    return f"{name}({', '.join(parts)})"


@pytest.mark.parametrize("kind", [PrefectClient, SyncPrefectClient])
def test_the_calls_are_those_of_prefect_2_with_the_same_parameters(kind: type) -> None:
    names = {name for name, value in inspect.getmembers(kind) if not name.startswith("_") and callable(value)}
    expected = [line for line in SURFACE if line.partition("(")[0] not in NOT_THERE]
    assert sorted(written(kind, name) for name in names) == sorted(expected)


def test_every_call_is_tried_on_both_clients() -> None:
    tests = "".join(path.read_text() for path in HERE.glob("test_*.py"))
    tried = set(re.findall(r"client\.(\w+)\b", tests))
    assert {line.partition("(")[0] for line in SURFACE} - set(NOT_THERE) - tried == set()


def test_the_calls_of_the_async_client_are_coroutine_functions_and_those_of_the_other_are_not() -> None:
    assert inspect.iscoroutinefunction(FlowyardClient("http://h/api").read_flow)
    assert not inspect.iscoroutinefunction(SyncFlowyardClient("http://h/api").read_flow)
    assert list(inspect.signature(SyncFlowyardClient("http://h/api").read_flow).parameters) == ["flow_id"]


def test_what_would_wait_for_a_loop_is_refused_on_the_blocking_client() -> None:
    with pytest.raises(RuntimeError, match="waits for an event loop"):
        finished(asyncio.sleep(0))


@pytest.mark.usefixtures("embedded")
def test_both_clients_work_inside_flows_and_tasks() -> None:
    @task
    async def count() -> int:
        async with get_client() as client:
            return len(await client.read_task_runs())

    @flow
    async def outer() -> tuple[int, int]:
        async with get_client() as client:
            return await count(), len(await client.read_task_runs())

    @flow
    def inner() -> int:
        with get_client(sync_client=True) as client:
            return len(client.read_flow_runs())

    assert asyncio.run(outer()) == (1, 1), "what was recorded is seen, however late it is written"
    assert inner() == 2


@pytest.mark.usefixtures("embedded")
def test_a_client_makes_no_events_of_the_runs_of_its_process() -> None:
    @flow
    def nothing() -> None: ...

    with get_client(sync_client=True) as client:
        assert client.read_flow_runs() == []
    nothing()
    headers = (("content-type", "application/json"),)
    answer = PROCESS.backend().control.answer_request(ApiRequest("POST", "/events/filter", headers, b"{}"))
    assert json.loads(answer.content)["total"] == 0


@task
def names_seen() -> list[str]:
    """Return the names of the flows, read in another process."""
    with get_client(sync_client=True) as client:
        return [found.name for found in client.read_flows()]


@pytest.mark.usefixtures("embedded")
def test_a_task_in_another_process_asks_the_process_of_its_flow() -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def look() -> list[str]:
        return names_seen.submit().result()

    assert look() == ["look"]


@pytest.mark.usefixtures("embedded")
def test_clients_of_several_loops_and_threads_share_what_is_open() -> None:
    async def name() -> str:
        async with get_client() as client:
            await asyncio.gather(*(client.create_flow_from_name(f"f{number}") for number in range(8)))
            return (await client.read_flows(limit=1))[0].name

    assert {asyncio.run(name()) for _ in range(2)} == {"f0"}
    with get_client(sync_client=True) as client:
        assert len(client.read_flows()) == 8
        assert client.server_type is ServerType.EPHEMERAL


@pytest.mark.usefixtures("embedded")
def test_a_client_is_opened_once_in_the_right_way() -> None:
    with pytest.raises(RuntimeError, match="get_client\\(sync_client=True\\)"), get_client():
        pass
    client = get_client(sync_client=True)
    with pytest.raises(RuntimeError, match="not open"):
        client.read_flows()
    with client, pytest.raises(RuntimeError, match="open already"):
        client.__enter__()
    with pytest.raises(RuntimeError, match="closed"):
        client.__enter__()


@pytest.mark.parametrize("api", [4200, "localhost:4200/api"])
def test_what_is_no_address_is_refused(api: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="4200"):
        FlowyardClient(api)


@pytest.mark.parametrize("is_blocking", [False, True])
def test_a_client_takes_an_application(home: Path, is_blocking: bool) -> None:
    with LocalBackend.open(f"sqlite:///{home / 'a.db'}", home) as backend:
        app = create_app(Settings.from_env({"FLOWYARD_HOME": str(home)}), backend=backend)
        if is_blocking:
            with SyncFlowyardClient(app) as client:
                assert client.read_flow(client.create_flow_from_name("f")).name == "f"
            return

        async def use() -> str:
            async with FlowyardClient(app) as client:
                return (await client.read_flow(await client.create_flow_from_name("f"))).name

        assert asyncio.run(use()) == "f"


def test_a_server_that_is_away_is_named(home: Path) -> None:
    url = "http://127.0.0.1:9/api"
    changes: dict[Any, Any] = {FLOWYARD_HOME: home, FLOWYARD_API_URL: url, Settings.FLOWYARD_CLIENT_MAX_RETRIES: 0}
    with temporary_settings(changes), get_client(sync_client=True) as client:
        with pytest.raises(ServerAway, match=r"127\.0\.0\.1:9.*flowyard server start"):
            client.read_flows()
        assert isinstance(client.api_healthcheck(), ServerAway)
        assert f"{client.api_url}" == f"{url}/"


@pytest.fixture
def serve(home: Path) -> Iterator[Callable[[dict[str, str]], None]]:
    """Start a server with settings, which the rest of the test uses."""
    with ExitStack() as stack:

        def start(environment: dict[str, str]) -> None:
            backend = stack.enter_context(LocalBackend.open(f"sqlite:///{home / 'server.db'}", home))
            server = stack.enter_context(serving(create_app(Settings.from_env(environment), backend=backend)))
            changes: dict[Any, Any] = {FLOWYARD_HOME: home / "mine", FLOWYARD_API_URL: f"{server.address}/api"}
            stack.enter_context(temporary_settings(changes))
            stack.callback(close_backends)

        yield start


def test_a_flow_that_reports_to_a_server_sees_what_it_recorded(serve: Callable[[dict[str, str]], None]) -> None:
    @task
    def one() -> int:
        return 1

    @flow
    def count() -> int:
        one()
        with get_client(sync_client=True) as client:
            return len(client.read_task_runs())

    serve({})
    assert count() == 1


def test_requests_of_remote_workers_are_passed_on_to_the_server(serve: Callable[[dict[str, str]], None]) -> None:
    serve({})
    answer = PROCESS.backend().control.answer_request(ApiRequest("GET", "/flows/name/nowhere"))
    assert (answer.status_code, json.loads(answer.content)["detail"]) == (404, "no flow 'nowhere' in the state backend")


def test_a_server_that_asks_for_a_token_gets_one(serve: Callable[[dict[str, str]], None]) -> None:
    serve({"FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED": "true"})
    with get_client(sync_client=True) as client:
        assert client.create_flow_from_name("f") == client.create_flow_from_name("f")
    with (
        temporary_settings({Settings.FLOWYARD_CLIENT_CSRF_SUPPORT_ENABLED: False}),
        get_client(sync_client=True) as client,
        pytest.raises(FlowyardHTTPStatusError, match="Missing CSRF token"),
    ):
        client.create_flow_from_name("f")


@pytest.mark.parametrize("is_blocking", [False, True])
def test_a_busy_server_is_asked_again_when_it_said(home: Path, is_blocking: bool) -> None:
    answers = iter([(503, {"Retry-After": "0"}), (429, {"Retry-After": "0.0"}), (200, {})])
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        status, headers = next(answers)
        return httpx.Response(status, headers=headers, json=[])

    options: dict[str, Any] = {"transport": httpx.MockTransport(answer), "headers": {"X-Mine": "1"}}
    changes: dict[Any, Any] = {FLOWYARD_HOME: home, FLOWYARD_API_URL: "http://busy/api", FLOWYARD_API_KEY: "k1"}
    with temporary_settings(changes):
        if is_blocking:
            with get_client(options, sync_client=True) as client:
                assert client.read_flows() == []
        else:

            async def read() -> None:
                async with get_client(options) as client:
                    assert await client.read_flows() == []

            asyncio.run(read())
    assert len(asked) == 3
    assert asked[0].headers["X-PREFECT-API-VERSION"] == "0.8.4"
    assert asked[0].headers["X-Mine"] == "1"
    assert asked[0].headers["Authorization"] == "Bearer k1"


def test_a_page_in_the_place_of_an_answer_is_an_error_that_shows_it(home: Path) -> None:
    page = httpx.Response(200, html="<html>Please log in.</html>")
    options: dict[str, Any] = {"transport": httpx.MockTransport(lambda _: page)}
    with (
        temporary_settings({FLOWYARD_HOME: home, FLOWYARD_API_URL: "http://h/api"}),
        get_client(options, sync_client=True) as client,
        pytest.raises(FlowyardHTTPStatusError, match="'http://h/api/flows/filter' is no JSON .text/html") as caught,
    ):
        client.read_flows()
    assert "FLOWYARD_API_URL" in f"{caught.value}"
    assert "Please log in." in f"{caught.value}"


def test_what_may_have_arrived_is_sent_again_only_if_that_does_nothing_twice(home: Path) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        raise httpx.ReadError("broken off", request=request)

    options: dict[str, Any] = {"transport": httpx.MockTransport(answer)}
    changes: dict[Any, Any] = {FLOWYARD_HOME: home, FLOWYARD_API_URL: "http://h/api"}
    changes[Settings.FLOWYARD_CLIENT_MAX_RETRIES] = 1
    with temporary_settings(changes), get_client(options, sync_client=True) as client:
        for call in (client.read_flows, lambda: client.create_logs([])):
            with pytest.raises(ServerAway, match="broken off"):
                call()
    assert asked == ["/api/flows/filter", "/api/flows/filter", "/api/logs/"]


def test_importing_flowyard_does_not_load_the_client() -> None:
    program = "import sys, flowyard\nprint(sorted({'httpx', 'fastapi', 'flowyard.client'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=90)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.usefixtures("embedded")
def test_a_client_uses_the_backend_that_this_process_has_open(home: Path) -> None:
    with get_client(sync_client=True) as client:
        assert client.read_flow_runs() == []
        assert PROCESS.has_backend
    assert (home / "flowyard.db").exists()
