"""Rows of concurrency limits, and the tables of the ledger, which `slots` writes: no counter stands beside it.

Slots of a limit without decay are counted from their rows. Slots that come back by themselves have a counter that is
brought up to date when somebody looks.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    Select,
    Table,
    UniqueConstraint,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.schemas.limits import TAG_PREFIX, ConcurrencyLimit, SlotHolder
from flowyard.store import slot_calls
from flowyard.store.ordering import Order, Page
from flowyard.store.slot_calls import WAITER_SECONDS
from flowyard.store.slots import limit_of
from flowyard.store.tables import metadata
from flowyard.store.types import Identifier, PlainText, Timestamp

_ID, _TEXT, _TIME = Identifier(), PlainText(), Timestamp()

concurrency_limit = Table(
    "concurrency_limit",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", _TEXT, nullable=False),
    Column("slot_limit", Integer, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("slot_decay_per_second", Double, nullable=False),
    Column("avg_slot_occupancy_seconds", Double, nullable=False),
    # Of limits with decay alone: slots that had not come back at `decayed`.
    Column("decaying_slots", Integer, nullable=False),
    Column("decayed", _TIME, nullable=False),
    Column("created", _TIME, nullable=False),
    Column("updated", _TIME, nullable=False),
    UniqueConstraint("name", name="uq_concurrency_limit__name"),
    sqlite_with_rowid=False,
)

concurrency_slot = Table(
    "concurrency_slot",
    metadata,
    Column("limit_id", _ID, primary_key=True),
    Column("lease_id", _ID, primary_key=True),
    Column("slots", Integer, nullable=False),
    # Whoever it is died or ended: the slots come back.
    Column("owner_id", _ID, nullable=False),
    Column("flow_run_id", _ID),
    Column("task_run_id", _ID),
    Column("acquired", _TIME, nullable=False),
    Index("ix_concurrency_slot__lease_id", "lease_id"),
    sqlite_with_rowid=False,
)

concurrency_waiter = Table(
    "concurrency_waiter",
    metadata,
    Column("limit_id", _ID, primary_key=True),
    # Ids grow with time: this is the order of the queue.
    Column("lease_id", _ID, primary_key=True),
    Column("slots", Integer, nullable=False),
    Column("seen", _TIME, nullable=False),
    Index("ix_concurrency_waiter__lease_id", "lease_id"),
    sqlite_with_rowid=False,
)


def create(connection: Connection, limit: ConcurrencyLimit, now: datetime) -> None:
    """Store a new limit.

    Raises:
        ObjectAlreadyExists: there is one of that name.
    """
    if connection.execute(select(concurrency_limit.c.id).where(concurrency_limit.c.name == limit.name)).first():
        raise ObjectAlreadyExists("concurrency limit", limit.name)
    connection.execute(insert(concurrency_limit), _values(limit, now))


def read(connection: Connection, name: str, now: datetime) -> ConcurrencyLimit:
    """Return a limit by name or id, with the slots that are taken at `now`.

    Raises:
        ObjectNotFound: there is none.
    """
    row = connection.execute(_select(now).where(_is_named(name))).first()
    if row is None:
        raise ObjectNotFound("concurrency limit", name)
    return limit_of(row, now)


def read_many(
    connection: Connection, now: datetime, page: Page, *, of_tags: bool | None = None
) -> list[ConcurrencyLimit]:
    """Return limits in the order of their names; with `of_tags` only those of tags, or only the others.

    Raises:
        ObjectNotFound: there is no limit with which the page before ended.
    """
    by_name = Order(concurrency_limit.c.name)
    query = page.of(connection, _select(now), by_name, concurrency_limit.c.id, "concurrency limit")
    if of_tags is not None:
        is_of_tag = concurrency_limit.c.name.startswith(TAG_PREFIX, autoescape=True)
        query = query.where(is_of_tag if of_tags else ~is_of_tag)
    return [limit_of(row, now) for row in connection.execute(query)]


def names(connection: Connection, prefix: str) -> list[str]:
    """Return the names of active limits that begin so."""
    query = select(concurrency_limit.c.name).where(
        concurrency_limit.c.active, concurrency_limit.c.name.startswith(prefix, autoescape=True)
    )
    return list(connection.execute(query).scalars())


def holders(connection: Connection, name: str, now: datetime) -> list[SlotHolder]:
    """Return who holds slots of a limit, longest first.

    Raises:
        ObjectNotFound: there is none of that name or id.
    """
    limit = read(connection, name, now)
    rows = connection.execute(
        select(concurrency_slot)
        .where(concurrency_slot.c.limit_id == limit.id)
        .order_by(concurrency_slot.c.acquired, concurrency_slot.c.lease_id)
    )
    return [
        SlotHolder(
            lease_id=row.lease_id,
            slots=row.slots,
            flow_run_id=row.flow_run_id,
            task_run_id=row.task_run_id,
            acquired=row.acquired,
        )
        for row in rows
    ]


def store(connection: Connection, limit: ConcurrencyLimit, now: datetime, *, frees_all: bool) -> None:
    """Change a limit to what `limit` says; with `frees_all`, take back what anybody holds of it."""
    connection.execute(
        update(concurrency_limit).where(concurrency_limit.c.id == limit.id), _values(limit, now, created=limit.created)
    )
    if frees_all:
        connection.execute(delete(concurrency_slot).where(concurrency_slot.c.limit_id == limit.id))
    slot_calls.note(connection)


def remove(connection: Connection, name: str) -> None:
    """Delete a limit with its slots and its queue.

    Raises:
        ObjectNotFound: there is none of that name or id.
    """
    limit_id = connection.execute(select(concurrency_limit.c.id).where(_is_named(name))).scalar()
    if limit_id is None:
        raise ObjectNotFound("concurrency limit", name)
    waiting = select(concurrency_waiter.c.lease_id).where(concurrency_waiter.c.limit_id == limit_id)
    slot_calls.note(connection, connection.execute(waiting).scalars())
    for table in (concurrency_slot, concurrency_waiter):
        connection.execute(delete(table).where(table.c.limit_id == limit_id))
    connection.execute(delete(concurrency_limit).where(concurrency_limit.c.id == limit_id))


def _select(now: datetime) -> Select[Any]:
    here = concurrency_limit.c.id
    taken = select(func.coalesce(func.sum(concurrency_slot.c.slots), 0)).where(concurrency_slot.c.limit_id == here)
    wanted = select(func.coalesce(func.sum(concurrency_waiter.c.slots), 0)).where(
        concurrency_waiter.c.limit_id == here,
        concurrency_waiter.c.seen > now - timedelta(seconds=WAITER_SECONDS),
    )
    return select(concurrency_limit, taken.scalar_subquery().label("taken"), wanted.scalar_subquery().label("wanted"))


def _is_named(name: str) -> Any:
    try:
        return or_(concurrency_limit.c.name == name, concurrency_limit.c.id == UUID(name))
    except ValueError:
        return concurrency_limit.c.name == name


def _values(limit: ConcurrencyLimit, now: datetime, *, created: datetime | None = None) -> dict[str, Any]:
    return {
        "id": limit.id,
        "name": limit.name,
        "slot_limit": limit.limit,
        "active": limit.active,
        "slot_decay_per_second": limit.slot_decay_per_second,
        "avg_slot_occupancy_seconds": limit.avg_slot_occupancy_seconds,
        "decaying_slots": limit.active_slots,
        "decayed": now,
        "created": created if created is not None else now,
        "updated": now,
    }
