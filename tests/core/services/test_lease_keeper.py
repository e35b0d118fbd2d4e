from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest

from flowyard.schemas.ids import new_id
from flowyard.services.lease_keeper import LeaseKeeper
from flowyard.store import leases
from flowyard.store.database import Database, open_database

PAST = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def held(postgres_url: str) -> tuple[Database, UUID, UUID]:
    """A database with an expired lease: database, flow run, owner."""
    database = open_database(postgres_url)
    flow_run_id, owner = new_id(), leases.Owner(new_id(), "far", 1, PAST, None)
    with database.plain_writing() as connection:
        leases.acquire(connection, flow_run_id, owner, now=PAST, expires=PAST)
    return database, flow_run_id, owner.id


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def is_renewed(database: Database, flow_run_id: UUID) -> bool:
    with database.plain_reading() as connection:
        lease = leases.find(connection, flow_run_id)
    assert lease is not None
    assert lease.expires is not None
    return lease.expires > datetime.now(UTC)


def test_a_keeper_renews_the_leases_of_its_owner_until_it_is_stopped(
    held: tuple[Database, UUID, UUID], postgres_url: str
) -> None:
    database, flow_run_id, owner_id = held
    keeper = LeaseKeeper(postgres_url, owner_id)
    keeper.start()
    keeper.start()
    wait_until(lambda: is_renewed(database, flow_run_id))
    process = keeper._process
    assert process is not None
    keeper.stop()
    keeper.stop()
    assert not _runs(process.pid)
    database.close()


def test_a_keeper_ends_when_its_parent_is_killed(held: tuple[Database, UUID, UUID], postgres_url: str) -> None:
    database, flow_run_id, owner_id = held
    code = (
        "import sys, uuid; from flowyard.services.lease_keeper import LeaseKeeper;"
        "keeper = LeaseKeeper(sys.argv[1], uuid.UUID(sys.argv[2])); keeper.start();"
        "print(keeper._process.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, postgres_url, str(owner_id)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    wait_until(lambda: is_renewed(database, flow_run_id))
    parent.kill()
    parent.communicate()
    wait_until(lambda: not _runs(pid))
    database.close()


def _runs(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return found.stdout.strip()[:1] not in ("", "Z")
