"""The contracts of every backend, for one that reports to a server over HTTP; on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from typing_extensions import override

from flowyard.local.backend import LocalBackend
from flowyard.ports import Backend
from flowyard.ports.blocks import BlockStore
from flowyard.remote import RemoteBackend
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun
from flowyard.settings import Settings
from flowyard.store import leases
from flowyard.testing.blocks import BlockStoreContract
from flowyard.testing.journals import JournalContract
from flowyard.testing.limits import LimitContract
from flowyard.testing.objects import ArtifactContract, VariableContract
from flowyard.testing.servers import DEADLINE
from flowyard.testing.stores import BackendContract


@pytest.fixture
def reporting(shared_server: Any, behind: LocalBackend, tmp_path: Path) -> Iterator[RemoteBackend]:
    del behind
    before = set(threading.enumerate())
    settings = Settings.from_env({"FLOWYARD_HOME": str(tmp_path), "FLOWYARD_API_URL": f"{shared_server.address}/api"})
    # A child process for each test would be most of what they take.
    with RemoteBackend.open(settings, keeps_leases=False) as backend:
        yield backend
    # Of the server: threads that answer, and the one that wakes who waits for slots.
    others = {"AnyIO worker thread", "flowyard-slot-waiters"}
    left = {thread for thread in set(threading.enumerate()) - before if thread.name not in others}
    for thread in left:
        thread.join(DEADLINE)  # one that a closed websocket has told to end
    assert not [thread for thread in left if thread.is_alive()]
    assert list(tmp_path.glob("spool/*")) == []


@pytest.fixture
def usurper(behind: LocalBackend) -> Callable[[UUID], None]:
    def act(flow_run_id: UUID) -> None:
        now = datetime.now(UTC)
        other = leases.Owner(new_id(), "elsewhere", 1, now, None)
        behind.journal.perform(lambda connection: leases.acquire(connection, flow_run_id, other, now=now, expires=None))

    return act


class Reporting:
    """What a contract asks for."""

    @pytest.fixture
    def backend(self, reporting: RemoteBackend) -> RemoteBackend:
        return reporting

    @pytest.fixture
    def usurp(self, usurper: Callable[[UUID], None]) -> Callable[[UUID], None]:
        return usurper


class TestControlPlane(Reporting, BackendContract):
    @override
    def test_beginning_a_known_run_takes_it_over_as_it_is(self, backend: Backend) -> None:
        """With the token that its process has: the request may have been sent again because an answer got lost."""
        first = FlowRun(flow_id=new_id(), name="first", parameters={"n": 1})
        lease = backend.control.begin_flow_run("flow", first)
        again = FlowRun(flow_id=new_id(), name="ignored", id=first.id)
        assert backend.control.begin_flow_run("flow", again).token == lease.token
        assert (again.name, again.parameters) == ("first", {"n": 1})


class TestJournal(Reporting, JournalContract): ...


class TestVariables(Reporting, VariableContract): ...


class TestArtifacts(Reporting, ArtifactContract): ...


class TestLimits(Reporting, LimitContract): ...


class TestBlocks(Reporting, BlockStoreContract):
    @pytest.fixture
    def store(self, backend: RemoteBackend) -> BlockStore:
        return backend.control.blocks
