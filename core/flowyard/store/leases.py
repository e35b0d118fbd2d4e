"""Rows of leases: who may record what happens in a flow run."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, insert, select, update
from sqlalchemy.engine import Connection, Row

from flowyard.store.dialects import Dialect
from flowyard.store.tables import lease


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


def acquire(connection: Connection, flow_run_id: UUID, owner: Owner, *, now: datetime, expires: datetime | None) -> int:
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
    before = connection.execute(
        select(lease.c.token).where(lease.c.flow_run_id == flow_run_id).with_for_update()
    ).scalar()
    if before is None:
        connection.execute(insert(lease), {"flow_run_id": flow_run_id, "token": 1, **values})
        return 1
    connection.execute(update(lease).where(lease.c.flow_run_id == flow_run_id), {"token": before + 1, **values})
    return before + 1


def enter_process(connection: Connection, dialect: Dialect, owner: Owner, now: datetime) -> None:
    """Make the lease under which a process records what happens outside of flow runs; its key is the owner's id."""
    values = {
        "flow_run_id": owner.id,
        "token": 1,
        "last_batch": 0,
        "owner_id": owner.id,
        "host": owner.host,
        "pid": owner.pid,
        "process_start_time": owner.process_start_time,
        "lock_path": owner.lock_path,
        "acquired": now,
    }
    connection.execute(dialect.insert(lease).on_conflict_do_nothing(), values)


def advance(connection: Connection, flow_run_id: UUID, token: int, batch: int) -> Advance:
    """Check a batch against the lease and note that it is written, in the transaction that writes it."""
    moved = connection.execute(
        update(lease)
        .where(lease.c.flow_run_id == flow_run_id, lease.c.token == token, lease.c.last_batch < batch)
        .values(last_batch=batch)
    )
    if moved.rowcount:
        return Advance.ACCEPTED
    current = connection.execute(select(lease.c.token).where(lease.c.flow_run_id == flow_run_id)).scalar()
    return Advance.REPEATED if current == token else Advance.REFUSED


def is_current(connection: Connection, flow_run_id: UUID, token: int) -> bool:
    """Say whether a token is the newest of its flow run."""
    query = select(lease.c.token).where(lease.c.flow_run_id == flow_run_id)
    return connection.execute(query).scalar() == token


def release(connection: Connection, flow_run_id: UUID) -> None:
    """Let a flow run have no owner. Its last owner's token stays good, for the log lines that follow the end."""
    connection.execute(update(lease).where(lease.c.flow_run_id == flow_run_id).values(owner_id=None, expires=None))


def revoke(connection: Connection, flow_run_id: UUID) -> None:
    """Let a flow run have no owner, and refuse what its last one still sends."""
    connection.execute(
        update(lease)
        .where(lease.c.flow_run_id == flow_run_id)
        .values(token=lease.c.token + 1, owner_id=None, expires=None)
    )


def renew(connection: Connection, owner_id: UUID, expires: datetime) -> None:
    """Put off when the leases of a process expire."""
    connection.execute(
        update(lease).where(lease.c.owner_id == owner_id, lease.c.expires.is_not(None)).values(expires=expires)
    )


def leave(connection: Connection, owner_id: UUID) -> None:
    """Delete the lease that `enter_process` made."""
    connection.execute(delete(lease).where(lease.c.flow_run_id == owner_id))


def held(connection: Connection, *, not_by: UUID | None = None) -> list[HeldLease]:
    """Return the leases that have an owner, other than the one given."""
    query = select(lease).where(lease.c.owner_id.is_not(None))
    if not_by is not None:
        query = query.where(lease.c.owner_id != not_by)
    return [_held_of(row) for row in connection.execute(query)]


def find(connection: Connection, flow_run_id: UUID) -> HeldLease | None:
    """Return the lease of a flow run; None when it has no owner."""
    query = select(lease).where(lease.c.flow_run_id == flow_run_id, lease.c.owner_id.is_not(None))
    row = connection.execute(query).first()
    return None if row is None else _held_of(row)


def _held_of(row: Row[Any]) -> HeldLease:
    owner = Owner(row.owner_id, row.host, row.pid, row.process_start_time, row.lock_path)
    return HeldLease(row.flow_run_id, row.token, owner, row.expires)
