"""Events that code sends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from flowyard import flow, tags, task
from flowyard.events import Event, emit_event
from flowyard.local.backend import LocalBackend
from flowyard.process.backends import close_backends
from flowyard.runtime import flow_run as here
from flowyard.schemas.api.events import EventFilter
from flowyard.server.app import create_app
from flowyard.settings import FLOWYARD_API_URL, FLOWYARD_HOME, Settings, temporary_settings
from flowyard.store import event_lists
from flowyard.task_runners import ProcessPoolTaskRunner
from flowyard.testing.servers import serving

WAREHOUSE = {"prefect.resource.id": "warehouse.main", "prefect.resource.name": "main"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture(params=["own database", "server"])
def backend(request: pytest.FixtureRequest, tmp_path: Path, stack: ExitStack) -> Iterator[LocalBackend]:
    """The database where events come to, written by this process or by a server."""
    url = f"sqlite:///{tmp_path / 'flowyard.db'}"
    with LocalBackend.open(url, tmp_path) as opened:
        try:
            if request.param == "own database":
                with temporary_settings({FLOWYARD_HOME: tmp_path}):
                    yield opened
                    close_backends()
            else:
                settings = Settings.from_env({"FLOWYARD_HOME": str(tmp_path)})
                server = stack.enter_context(serving(create_app(settings, backend=opened)))
                with temporary_settings({FLOWYARD_HOME: tmp_path, FLOWYARD_API_URL: f"{server.address}/api"}):
                    yield opened
                    close_backends()
        finally:
            close_backends()
            stack.close()


def stored(backend: LocalBackend) -> Sequence[Event]:
    """Return the events that code has sent, oldest first."""
    with backend.database.reading() as connection:
        found = event_lists.read_page(connection, backend.database.dialect, EventFilter(), limit=50)
    return [event for event in found if not event.event.startswith("prefect.")][::-1]


def roles(event: Event) -> dict[str, str]:
    return {each.root["prefect.resource.role"]: each.root["prefect.resource.id"] for each in event.related}


def test_an_event_is_stored_when_the_call_returns(backend: LocalBackend) -> None:
    table = {"prefect.resource.id": "table.orders", "prefect.resource.role": "table"}
    made = emit_event("warehouse.loaded", WAREHOUSE, related=[table], payload={"rows": 12})
    after = emit_event("warehouse.sealed", WAREHOUSE, id=UUID(int=7), follows=made)

    first, second = stored(backend)
    assert (first.id, first.event, first.payload, first.occurred) == (made.id, made.event, {"rows": 12}, made.occurred)
    assert roles(first) == {"table": "table.orders"}
    assert (second.id, second.follows) == (UUID(int=7), first.id) == (after.id, after.follows)
    emit_event("warehouse.sealed", WAREHOUSE, id=UUID(int=7))
    assert len(stored(backend)) == 2


@task(tags=["slow"])
def load(run_id: str) -> None:
    assert emit_event("warehouse.loaded", WAREHOUSE).related
    own = {"prefect.resource.id": f"prefect.flow-run.{run_id}", "prefect.resource.role": "mine"}
    emit_event("warehouse.checked", WAREHOUSE, related=[own])


@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def etl() -> Any:
    load.submit(str(here.id)).result()
    return here.id


def test_an_event_of_a_task_is_related_to_its_runs_wherever_it_runs(backend: LocalBackend) -> None:
    with tags("nightly"):
        flow_run_id = etl()
    loaded, checked = stored(backend)
    assert roles(loaded)["flow-run"] == f"prefect.flow-run.{flow_run_id}"
    assert roles(loaded)["task-run"].startswith("prefect.task-run.")
    assert {one.root["prefect.resource.id"] for one in loaded.related} >= {"prefect.tag.nightly", "prefect.tag.slow"}
    assert roles(checked)["mine"] == f"prefect.flow-run.{flow_run_id}"
    assert "flow-run" not in roles(checked)


def test_an_event_without_the_labels_it_needs_is_refused(backend: LocalBackend) -> None:
    with pytest.raises(ValidationError, match=r"prefect\.resource\.id"):
        emit_event("x", {"region": "eu"})
    with pytest.raises(ValidationError, match=r"prefect\.resource\.role"):
        emit_event("x", WAREHOUSE, related=[{"prefect.resource.id": str(uuid4())}])
    assert stored(backend) == []
