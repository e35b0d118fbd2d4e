"""Rows of leases: who may record what happens in a flow run."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from flowyard.store.plain import PlainConnection, insert_text
from flowyard.store.rows import Row

_ENTRY = (
    "flow_run_id",
    "token",
    "last_batch",
    "owner_id",
    "host",
    "pid",
    "process_start_time",
    "lock_path",
    "acquired",
    "expires",
)


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, as far as others can recognise it."""

    id: UUID
    host: str
    pid: int
    process_start_time: datetime
    lock_path: str | None
    """The file this process holds a lock on as long as it lives; None when there is none (a database in memory)."""

    def __str__(self) -> str:
        return f"process {self.pid} on host {self.host}, started {self.process_start_time:%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A flow run and the process that owns it."""

    flow_run_id: UUID
    token: int
    owner: Owner
    expires: datetime | None


class Advance(enum.Enum):
    """What a lease says about a batch of the journal."""

    ACCEPTED = enum.auto()
    """New, and from the owner: write it."""
    REPEATED = enum.auto()
    """It was committed before: do not write it again."""
    REFUSED = enum.auto()
    """Somebody else owns the run now, or it was deleted."""
    EARLY = enum.auto()
    """One before it has not come: do not write it yet."""


def acquire(
    connection: PlainConnection, flow_run_id: UUID, owner: Owner, *, now: datetime, expires: datetime | None
) -> int:
    """Make `owner` the owner of a flow run and return its token, greater than all before.

    Whether the run may be taken is the caller's business.
    """
    values = {
        "owner_id": owner.id,
        "host": owner.host,
        "pid": owner.pid,
        "process_start_time": owner.process_start_time,
        "lock_path": owner.lock_path,
        "acquired": now,
        "expires": expires,
        "last_batch": 0,
    }
    lock = connection.dialect.row_lock
    before = connection.value(f"SELECT token FROM lease WHERE flow_run_id = ?{lock}", flow_run_id)
    if before is None:
        connection.insert("lease", {"flow_run_id": flow_run_id, "token": 1, **values})
        return 1
    connection.update("lease", {"token": before + 1, **values}, "flow_run_id = ?", flow_run_id)
    return before + 1


def enter_process(connection: PlainConnection, owner: Owner, now: datetime, *, expires: datetime | None = None) -> None:
    """Make the lease under which a process records what happens outside of flow runs; its key is the owner's id."""
    host = (owner.id, owner.host, owner.pid, owner.process_start_time, owner.lock_path)
    connection.execute(f"{insert_text('lease', _ENTRY)} ON CONFLICT DO NOTHING", owner.id, 1, 0, *host, now, expires)


def advance(connection: PlainConnection, flow_run_id: UUID, token: int, batch: int) -> Advance:
    """Check a batch against the lease and note that it is written, in the transaction that writes it."""
    condition = "flow_run_id = ? AND token = ? AND last_batch < ?"
    if connection.update("lease", {"last_batch": batch}, condition, flow_run_id, token, batch):
        return Advance.ACCEPTED
    return Advance.REPEATED if is_current(connection, flow_run_id, token) else Advance.REFUSED


def advance_in_order(connection: PlainConnection, flow_run_id: UUID, token: int, batch: int) -> Advance:
    """Do what `advance` does for batches that are counted without gaps, and come over a network."""
    condition = "flow_run_id = ? AND token = ? AND last_batch = ?"
    if connection.update("lease", {"last_batch": batch}, condition, flow_run_id, token, batch - 1):
        return Advance.ACCEPTED
    if not is_current(connection, flow_run_id, token):
        return Advance.REFUSED
    last = connection.value("SELECT last_batch FROM lease WHERE flow_run_id = ?", flow_run_id)
    return Advance.REPEATED if batch <= last else Advance.EARLY


def is_current(connection: PlainConnection, flow_run_id: UUID, token: int) -> bool:
    """Say whether a token is the newest of its flow run."""
    return connection.value("SELECT token FROM lease WHERE flow_run_id = ?", flow_run_id) == token


def is_held(connection: PlainConnection, flow_run_id: UUID) -> bool:
    """Say whether a flow run has an owner, dead or alive."""
    query = "SELECT 1 FROM lease WHERE flow_run_id = ? AND owner_id IS NOT NULL"
    return connection.value(query, flow_run_id) is not None


def release(connection: PlainConnection, flow_run_id: UUID) -> None:
    """Let a flow run have no owner. Its last owner's token stays good, for the log lines that follow the end."""
    release_many(connection, [flow_run_id])


def release_many(connection: PlainConnection, flow_run_ids: Sequence[UUID]) -> None:
    """Do what `release` does for many flow runs."""
    if flow_run_ids:
        query = "UPDATE lease SET owner_id = NULL, expires = NULL WHERE flow_run_id IN (ids)"
        connection.execute_among(query, flow_run_ids)


def revoke(connection: PlainConnection, flow_run_id: UUID) -> None:
    """Let a flow run have no owner, and refuse what its last one still sends."""
    connection.execute(
        "UPDATE lease SET token = token + 1, owner_id = NULL, expires = NULL WHERE flow_run_id = ?", flow_run_id
    )


def renew(connection: PlainConnection, owner_id: UUID, expires: datetime) -> None:
    """Put off when the leases of a process expire."""
    connection.update("lease", {"expires": expires}, "owner_id = ? AND expires IS NOT NULL", owner_id)


def renew_all(connection: PlainConnection, expires: datetime) -> None:
    """Put off when the leases end that nobody could renew while there was no server."""
    connection.update("lease", {"expires": expires}, "owner_id IS NOT NULL AND expires < ?", expires)


def leave(connection: PlainConnection, owner_id: UUID) -> None:
    """Delete the lease that `enter_process` made."""
    connection.execute("DELETE FROM lease WHERE flow_run_id = ?", owner_id)


def held(connection: PlainConnection, *, not_by: UUID | None = None) -> list[HeldLease]:
    """Return the leases that have an owner, other than the one given."""
    found = connection.rows("SELECT * FROM lease WHERE owner_id IS NOT NULL")
    return [_held_of(row) for row in found if row.owner_id != not_by]


def find(connection: PlainConnection, flow_run_id: UUID) -> HeldLease | None:
    """Return the lease of a flow run; None when it has no owner."""
    rows = connection.rows("SELECT * FROM lease WHERE flow_run_id = ? AND owner_id IS NOT NULL", flow_run_id)
    return _held_of(rows[0]) if rows else None


def _held_of(row: Row) -> HeldLease:
    owner = Owner(row.owner_id, row.host, row.pid, row.process_start_time, row.lock_path)
    return HeldLease(row.flow_run_id, row.token, owner, row.expires)
