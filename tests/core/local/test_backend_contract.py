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


def _backend(url: str, home: Path) -> Iterator[LocalBackend]:
    before = set(threading.enumerate())
    backend = LocalBackend.open(url, home)
    yield backend
    backend.close()
    assert set(threading.enumerate()) == before, "a thread is left"
    assert list(home.glob("owners/*")) == [], "a lock file is left"


def _usurper(backend: LocalBackend) -> Callable[[UUID], None]:
    def act(flow_run_id: UUID) -> None:
        now = datetime.now(UTC)
        other = leases.Owner(new_id(), "elsewhere", 1, now, None)
        backend.journal.perform(
            lambda connection: leases.acquire(connection, flow_run_id, other, now=now, expires=None)
        )

    return act


class TestControlPlane(BackendContract):
    @pytest.fixture
    def backend(self, url: str, tmp_path: Path) -> Iterator[LocalBackend]:
        yield from _backend(url, tmp_path)

    @pytest.fixture
    def usurp(self, backend: LocalBackend) -> Callable[[UUID], None]:
        return _usurper(backend)


class TestJournal(JournalContract):
    @pytest.fixture
    def backend(self, url: str, tmp_path: Path) -> Iterator[LocalBackend]:
        yield from _backend(url, tmp_path)

    @pytest.fixture
    def usurp(self, backend: LocalBackend) -> Callable[[UUID], None]:
        return _usurper(backend)


class TestVariables(VariableContract):
    @pytest.fixture
    def backend(self, url: str, tmp_path: Path) -> Iterator[LocalBackend]:
        yield from _backend(url, tmp_path)


class TestArtifacts(ArtifactContract):
    @pytest.fixture
    def backend(self, url: str, tmp_path: Path) -> Iterator[LocalBackend]:
        yield from _backend(url, tmp_path)


class TestLimits(LimitContract):
    @pytest.fixture
    def backend(self, url: str, tmp_path: Path) -> Iterator[LocalBackend]:
        yield from _backend(url, tmp_path)
