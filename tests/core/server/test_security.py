"""Who may ask a server what, how much and how often."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from flowyard.exceptions import ServerNotStarted
from flowyard.schemas.keys import Scope
from flowyard.server.security.authentication import Authenticator
from flowyard.server.security.rates import Rates
from flowyard.server.security.scopes import needed_scope
from flowyard.server.serve import Place, check_open_to_whom
from flowyard.services.api_keys import make_key
from flowyard.settings import Settings
from flowyard.store import api_keys
from flowyard.store.database import open_database
from flowyard.testing.servers import RunningServer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'server.db'}"


def settings_with(home: Path, url: str, **more: str) -> Settings:
    return Settings.from_env({"FLOWYARD_HOME": str(home), "FLOWYARD_API_DATABASE_CONNECTION_URL": url, **more})


def key_in(url: str, scope: Scope, *, lifetime: timedelta | None = None, now: datetime | None = None) -> str:
    key, text = make_key(f"{scope}-{lifetime}", scope, now=now or datetime.now(UTC), lifetime=lifetime)
    database = open_database(url)
    with database.writing() as connection:
        api_keys.insert_key(connection, key)
    database.close()
    return text


def ask(server: RunningServer, key: str | None, method: str, path: str, **more: object) -> httpx.Response:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.request(method, f"{server.address}/api{path}", headers=headers, timeout=20, **more)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def guarded(serve: Callable[[Settings], RunningServer], home: Path, database_url: str) -> RunningServer:
    return serve(settings_with(home, database_url, FLOWYARD_SERVER_API_AUTH="true"))


def test_health_needs_no_key_and_everything_else_does(guarded: RunningServer) -> None:
    assert ask(guarded, None, "GET", "/health").status_code == 200
    answer = ask(guarded, None, "POST", "/flows/filter")
    assert answer.status_code == 401
    assert "FLOWYARD_API_KEY" in answer.json()["detail"]
    assert ask(guarded, "fyd_000000000000_" + "x" * 43, "POST", "/flows/filter").status_code == 401
    assert ask(guarded, "nonsense", "POST", "/flows/filter").status_code == 401


def test_a_key_opens_what_its_scope_allows(guarded: RunningServer, database_url: str) -> None:
    reader, runner, admin = (key_in(database_url, scope) for scope in Scope)

    made = ask(guarded, runner, "POST", "/flows/", json={"name": "etl"})
    assert made.status_code == 201
    assert ask(guarded, reader, "POST", "/flows/filter").json() == [made.json()]
    refused = ask(guarded, reader, "POST", "/flows/", json={"name": "etl"})
    assert refused.status_code == 403
    assert "`run`" in refused.json()["detail"]
    assert ask(guarded, runner, "DELETE", f"/flows/{made.json()['id']}").status_code == 403
    assert ask(guarded, admin, "DELETE", f"/flows/{made.json()['id']}").status_code == 204


def test_a_key_that_has_expired_or_was_revoked_opens_nothing(guarded: RunningServer, database_url: str) -> None:
    expired = key_in(database_url, Scope.READ, lifetime=timedelta(days=1), now=datetime.now(UTC) - timedelta(days=2))
    revoked = key_in(database_url, Scope.RUN)
    database = open_database(database_url)
    with database.writing() as connection:
        api_keys.revoke(connection, "run-None", now=datetime.now(UTC))
    database.close()

    assert ask(guarded, expired, "POST", "/flows/filter").status_code == 401
    assert ask(guarded, revoked, "POST", "/flows/filter").status_code == 401


def test_the_database_does_not_hold_the_key(database_url: str, tmp_path: Path) -> None:
    secret = key_in(database_url, Scope.ADMIN).rsplit("_", 1)[-1]
    written = b"".join(file.read_bytes() for file in tmp_path.glob("server.db*"))
    assert secret.encode() not in written


def test_user_and_password_open_everything(
    serve: Callable[[Settings], RunningServer], home: Path, database_url: str
) -> None:
    server = serve(settings_with(home, database_url, FLOWYARD_SERVER_API_AUTH_STRING="ann:pass word"))

    def status(login: str) -> int:
        token = base64.b64encode(login.encode()).decode()
        headers = {"Authorization": f"Basic {token}"}
        return httpx.post(f"{server.address}/api/flows/filter", headers=headers, timeout=90).status_code

    assert status("ann:pass word") == 200
    assert status("ann:wrong") == 401


def test_too_large_a_body_is_refused_announced_or_not(
    serve: Callable[[Settings], RunningServer], home: Path, database_url: str
) -> None:
    server = serve(settings_with(home, database_url, FLOWYARD_SERVER_API_MAX_BODY_BYTES="1000"))
    body = b'{"name": "' + b"x" * 2000 + b'"}'

    announced = ask(server, None, "POST", "/flows/", content=body)
    streamed = ask(server, None, "POST", "/flows/", content=iter([body[:900], body[900:]]))

    assert announced.status_code == streamed.status_code == 413
    assert "FLOWYARD_SERVER_API_MAX_BODY_BYTES" in announced.json()["detail"]
    assert ask(server, None, "POST", "/flows/", json={"name": "x"}).status_code == 201


def test_who_asks_too_often_is_told_when_to_come_back(
    serve: Callable[[Settings], RunningServer], home: Path, database_url: str
) -> None:
    server = serve(
        settings_with(home, database_url, FLOWYARD_SERVER_API_AUTH="true", FLOWYARD_SERVER_API_RATE_LIMIT="0.01")
    )
    key = key_in(database_url, Scope.READ)
    assert ask(server, key, "POST", "/flows/filter").status_code == 200
    answer = ask(server, key, "POST", "/flows/filter")
    assert answer.status_code == 429
    assert 0 < float(answer.headers["retry-after"]) <= 100


def test_a_bucket_fills_at_its_rate() -> None:
    rates = Rates(2.0)
    assert [rates.seconds_until("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert rates.seconds_until("b", 0.0) == 0.0
    assert rates.seconds_until("a", 0.5) == 0.0


@pytest.mark.parametrize(
    ("method", "path", "query", "scope"),
    [
        ("GET", "/api/flow_runs/x", "", Scope.READ),
        ("POST", "/api/flow_runs/filter", "", Scope.READ),
        ("POST", "/api/ui/task_runs/dashboard/counts", "", Scope.READ),
        ("POST", "/api/flow_runs/x/set_state", "", Scope.RUN),
        ("POST", "/api/journal", "", Scope.RUN),
        ("POST", "/api/work_pools/p/get_scheduled_flow_runs", "", Scope.RUN),
        ("DELETE", "/api/flow_runs/x/input/k", "", Scope.RUN),
        ("DELETE", "/api/flow_runs/x", "", Scope.ADMIN),
        ("GET", "/api/block_documents/x", "include_secrets=false", Scope.READ),
        ("GET", "/api/block_documents/x", "include_secrets=true", Scope.RUN),
        ("POST", "/api/block_documents/filter", "", Scope.RUN),
        ("POST", "/api/block_documents/", "", Scope.ADMIN),
        ("POST", "/api/deployments/", "", Scope.ADMIN),
        ("POST", "/api/deployments/x/create_flow_run", "", Scope.RUN),
        ("POST", "/api/admin/database/clear", "", Scope.ADMIN),
        ("POST", "/api/something/new", "", Scope.ADMIN),
    ],
)
def test_a_request_needs_the_least_scope_that_it_can_do_with(method: str, path: str, query: str, scope: Scope) -> None:
    assert needed_scope(method, path, query) is scope


def test_a_server_without_keys_listens_on_the_loopback_interface_only() -> None:
    open_settings = Settings.from_env({})
    for host in ("127.0.0.1", "localhost", "::1"):
        check_open_to_whom(open_settings, Place(host, 1))
    with pytest.raises(ServerNotStarted, match="flowyard server key create"):
        check_open_to_whom(open_settings, Place("0.0.0.0", 1))
    check_open_to_whom(Settings.from_env({"FLOWYARD_SERVER_API_AUTH": "true"}), Place("0.0.0.0", 1))
    check_open_to_whom(Settings.from_env({"FLOWYARD_SERVER_API_AUTH": "false"}), Place("0.0.0.0", 1))


def flow_reporting_to(server: RunningServer, home: Path, **who: str) -> subprocess.CompletedProcess[str]:
    """Run a flow that takes and gives back a slot of a limit, and says so."""
    program = """
from flowyard import flow
from flowyard.concurrency.sync import concurrency

@flow
def nightly():
    with concurrency("limit"):
        return 42

print(nightly())
"""
    names = {"FLOWYARD_API_URL": f"{server.address}/api", "FLOWYARD_HOME": f"{home}", **who}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, timeout=90, check=False)


def test_flows_report_with_a_password(
    serve: Callable[[Settings], RunningServer], home: Path, database_url: str, tmp_path: Path
) -> None:
    server = serve(settings_with(home, database_url, FLOWYARD_SERVER_API_AUTH_STRING="me:secret"))
    done = flow_reporting_to(server, tmp_path, FLOWYARD_API_AUTH_STRING="me:secret")
    assert done.stdout.strip() == "42", done.stderr
    basic = {"Authorization": "Basic " + base64.b64encode(b"me:secret").decode()}
    runs = httpx.post(f"{server.address}/api/flow_runs/filter", headers=basic, timeout=20).json()
    assert [run["state_type"] for run in runs] == ["COMPLETED"]


def test_a_key_that_may_only_read_begins_no_flow(guarded: RunningServer, database_url: str, tmp_path: Path) -> None:
    done = flow_reporting_to(guarded, tmp_path, FLOWYARD_API_KEY=key_in(database_url, Scope.READ))
    assert done.returncode == 1
    assert "needs the scope `run`" in done.stderr
    assert "flowyard server key create" in done.stderr
    assert list(tmp_path.glob("spool/*.spool")) == []


@pytest.mark.parametrize(("token", "is_allowed"), [("me:secret", True), ("", None), ("me:", None), ("\ud800", None)])
def test_the_password_opens_sockets(token: str, is_allowed: bool | None) -> None:
    authenticator = Authenticator(lambda _: None, auth_string="me:secret", is_required=True)
    assert asyncio.run(authenticator.is_allowed(token, Scope.ADMIN)) is is_allowed
