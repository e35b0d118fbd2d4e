"""Flows that report to a server that asks for CSRF tokens."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowyard import flow, task
from flowyard.concurrency.sync import concurrency
from flowyard.exceptions import BackendUnavailable
from flowyard.process.backends import close_backends
from flowyard.remote import RemoteBackend
from flowyard.remote.delivery import address_of
from flowyard.schemas.filters import FlowRunFilter
from flowyard.services.remote_lease_keeper import Renewal
from flowyard.settings import (
    FLOWYARD_API_URL,
    FLOWYARD_CLIENT_CSRF_SUPPORT_ENABLED,
    FLOWYARD_CLIENT_MAX_RETRIES,
    FLOWYARD_HOME,
    FLOWYARD_JOURNAL_GIVE_UP_SECONDS,
    FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED,
    Settings,
    temporary_settings,
)
from flowyard.store import csrf_tokens
from flowyard.testing.servers import RunningServer
from flowyard.upcalls.calls import Question


@pytest.fixture
def guarded(settings: Settings, serve: Callable[[Settings], RunningServer]) -> RunningServer:
    """A server that asks for tokens."""
    return serve(settings.copy_with_update({FLOWYARD_SERVER_CSRF_PROTECTION_ENABLED: True}))


@pytest.fixture
def closing() -> Iterator[None]:
    yield
    close_backends()


@pytest.mark.usefixtures("closing")
def test_a_flow_reports_with_tokens_and_with_new_ones_when_they_are_over(
    guarded: RunningServer, tmp_path: Path
) -> None:
    gateway = guarded.app.state.gateway
    over = datetime.now(UTC) - timedelta(days=1)

    def expire() -> None:
        ended = csrf_tokens.csrf_token.update().values(expiration=over)
        assert gateway.change(lambda connection: connection.execute(ended).rowcount) >= 1

    @task
    def step(number: int) -> int:
        with concurrency("nobody-limits-this"):
            return number

    @flow
    def reports() -> int:
        first = step(1)
        expire()
        return first + sum(future.result() for future in step.map([1, 2, 3]))

    with temporary_settings({FLOWYARD_HOME: tmp_path / "home", FLOWYARD_API_URL: f"{guarded.address}/api"}):
        assert reports() == 7
    [run] = gateway.control.read_flow_runs(FlowRunFilter(flow_names=("reports",)))
    assert run.state is not None
    assert run.state.is_completed()
    assert gateway.control.task_run_counts(run.id) == {("step", "Completed"): 4}
    assert list((tmp_path / "home").glob("spool/*")) == []


def _settings(server: RunningServer, home: Path) -> Settings:
    return Settings.from_env({"FLOWYARD_HOME": str(home), "FLOWYARD_API_URL": f"{server.address}/api"})


def test_threads_of_one_client_do_not_take_each_others_tokens(guarded: RunningServer, tmp_path: Path) -> None:
    with RemoteBackend.open(_settings(guarded, tmp_path), keeps_leases=False) as backend:
        errors: list[BaseException] = []
        start = threading.Barrier(6)

        def ask() -> None:
            try:
                start.wait(90)
                for _ in range(5):
                    backend.control.read_flow_runs()
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert errors == []


def test_leases_are_renewed_with_tokens(guarded: RunningServer, tmp_path: Path) -> None:
    with RemoteBackend.open(_settings(guarded, tmp_path), keeps_leases=False) as backend:
        question = Question("", "renew_leases", [], {})
        target = {
            "url": f"{guarded.address}/api{address_of(question)}",
            "tokens": f"{guarded.address}/api/csrf-token?client=",
            "authorization": {},
            "certificates": None,
            "is_unchecked": True,
            "body": backend.journal.delivery.body_of(question).hex(),
        }
        renewal = Renewal(json.loads(json.dumps(target)))
        renewal()
        # Somebody gave the client a new one.
        guarded.app.state.gateway.change(lambda connection: connection.execute(csrf_tokens.csrf_token.delete()))
        renewal()


def test_a_client_that_may_not_send_tokens_is_told_why(guarded: RunningServer, tmp_path: Path) -> None:
    settings = _settings(guarded, tmp_path).copy_with_update(
        {
            FLOWYARD_CLIENT_CSRF_SUPPORT_ENABLED: False,
            FLOWYARD_CLIENT_MAX_RETRIES: 0,
            FLOWYARD_JOURNAL_GIVE_UP_SECONDS: 0.0,
        }
    )
    with (
        RemoteBackend.open(settings, keeps_leases=False) as backend,
        pytest.raises(BackendUnavailable, match=r"Missing CSRF token.*FLOWYARD_CLIENT_CSRF_SUPPORT_ENABLED"),
    ):
        backend.control.read_flow_runs()
