"""The contracts of control plane, journal and objects, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from flowyard.local.backend import LocalBackend
from flowyard.schemas.ids import new_id
from flowyard.store import leases
from flowyard.testing.journals import JournalContract
from flowyard.testing.limits import LimitContract
from flowyard.testing.objects import ArtifactContract, VariableContract
from flowyard.testing.stores import BackendContract


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/flowyard.db"


class Local:
    """What a contract asks for."""

    @pytest.fixture
    def backend(self, url: str, tmp_path: Path) -> Iterator[LocalBackend]:
        before = set(threading.enumerate())
        backend = LocalBackend.open(url, tmp_path)
        yield backend
        backend.close()
        assert set(threading.enumerate()) == before, "a thread is left"
        assert list(tmp_path.glob("owners/*")) == [], "a lock file is left"

    @pytest.fixture
    def usurp(self, backend: LocalBackend) -> Callable[[UUID], None]:
        def act(flow_run_id: UUID) -> None:
            now = datetime.now(UTC)
            other = leases.Owner(new_id(), "elsewhere", 1, now, None)
            backend.journal.perform(
                lambda connection: leases.acquire(connection, flow_run_id, other, now=now, expires=None)
            )

        return act


class TestControlPlane(Local, BackendContract): ...


class TestJournal(Local, JournalContract): ...


class TestVariables(Local, VariableContract): ...


class TestArtifacts(Local, ArtifactContract): ...


class TestLimits(Local, LimitContract): ...
