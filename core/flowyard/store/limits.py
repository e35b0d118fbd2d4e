"""Rows of concurrency limits, of the slots that are taken, and of who waits: one ledger, no counter beside it.

Slots of a limit without decay are counted from their rows. Slots that come back by themselves have a counter that is
brought up to date when somebody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.rules.limits import LimitUse, average_occupancy, decay, decide_slots
from flowyard.schemas.limits import TAG_PREFIX, ConcurrencyLimit, SlotAnswer, SlotHolder, SlotMode, SlotRequest
from flowyard.store import slot_calls
from flowyard.store.dialects import Dialect
from flowyard.store.ordering import Order, Page
from flowyard.store.slot_calls import WAITER_SECONDS
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
    return _limit_of(row, now)


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
    return [_limit_of(row, now) for row in connection.execute(query)]


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


def peek(connection: Connection, request: SlotRequest, now: datetime) -> SlotAnswer | None:
    """Return what `acquire` would answer, without writing; None when a name is not known yet.

    Raises:
        SlotsOverLimit, RateLimitWithoutDecay: it can never be granted.
    """
    uses = _uses(connection, request, now)
    return decide_slots(request, uses) if len(uses) == len(set(request.names)) else None


def acquire(
    connection: Connection,
    dialect: Dialect,
    request: SlotRequest,
    *,
    owner_id: UUID,
    now: datetime,
    is_queued: bool = True,
) -> SlotAnswer:
    """Take the slots of a request, or put it into the queue of every limit it names; without `is_queued` only ask.

    Raises:
        SlotsOverLimit, RateLimitWithoutDecay: it can never be granted.
    """
    unknown = [
        _values(ConcurrencyLimit(name=name, limit=1, active=False), now)
        for name in set(request.names) - set(_existing(connection, request.names))
    ]
    if unknown:
        connection.execute(dialect.insert(concurrency_limit).on_conflict_do_nothing(), unknown)
    _lock(connection, concurrency_limit.c.name.in_(request.names))
    held = select(concurrency_slot.c.limit_id).where(concurrency_slot.c.lease_id == request.lease_id)
    if connection.execute(held).first() is not None:
        return SlotAnswer(is_granted=True)
    uses = _uses(connection, request, now)
    answer = decide_slots(request, uses)
    active = [use.limit for use in uses if use.limit.active]
    if not answer.is_granted and not is_queued:
        return answer
    if not answer.is_granted:
        waiting = dialect.insert(concurrency_waiter)
        connection.execute(
            waiting.on_conflict_do_update(
                index_elements=["limit_id", "lease_id"], set_={"seen": waiting.excluded.seen}
            ),
            [
                {"limit_id": limit.id, "lease_id": request.lease_id, "slots": request.slots, "seen": now}
                for limit in active
            ],
        )
        return answer
    if _leave_queue(connection, [request.lease_id]):
        slot_calls.note(connection)  # there may be room for the next one
    for use in uses:
        if use.limit.active:
            _take(connection, use, request, owner_id=owner_id, now=now)
    return answer


def _take(connection: Connection, use: LimitUse, request: SlotRequest, *, owner_id: UUID, now: datetime) -> None:
    limit = use.limit
    if limit.slot_decay_per_second > 0:
        connection.execute(
            update(concurrency_limit)
            .where(concurrency_limit.c.id == limit.id)
            .values(
                decaying_slots=limit.active_slots + request.slots,
                decayed=now - timedelta(seconds=use.seconds_since_decay),
            )
        )
    if request.mode is SlotMode.CONCURRENCY:
        connection.execute(
            insert(concurrency_slot),
            {
                "limit_id": limit.id,
                "lease_id": request.lease_id,
                "slots": request.slots,
                "owner_id": owner_id,
                "flow_run_id": request.flow_run_id,
                "task_run_id": request.task_run_id,
                "acquired": now,
            },
        )


def release(
    connection: Connection, lease_ids: Sequence[UUID], *, occupancy_seconds: float | None, now: datetime
) -> bool:
    """Give back what was granted under these ids, and their places in the queue; True if there were slots."""
    queues = select(concurrency_waiter.c.limit_id).where(concurrency_waiter.c.lease_id.in_(lease_ids))
    # Locked before anybody leaves: who gives slots back at the same time could still take it for the next one.
    _lock(connection, concurrency_limit.c.id.in_(queues))
    if _leave_queue(connection, lease_ids):
        slot_calls.note(connection)
    return _give_back(
        connection, concurrency_slot.c.lease_id.in_(lease_ids), occupancy_seconds=occupancy_seconds, now=now
    )


def release_of_runs(connection: Connection, run_ids: Sequence[UUID], *, now: datetime) -> bool:
    """Give back what flow runs or task runs hold; True if there were slots."""
    holders = or_(concurrency_slot.c.flow_run_id.in_(run_ids), concurrency_slot.c.task_run_id.in_(run_ids))
    return _give_back(connection, holders, occupancy_seconds=None, now=now)


def release_of_owners(connection: Connection, owner_ids: Sequence[UUID], *, now: datetime) -> None:
    """Give back what processes hold that are dead."""
    _give_back(connection, concurrency_slot.c.owner_id.in_(owner_ids), occupancy_seconds=None, now=now)


def _give_back(connection: Connection, condition: Any, *, occupancy_seconds: float | None, now: datetime) -> bool:
    joined = concurrency_slot.join(concurrency_limit, concurrency_limit.c.id == concurrency_slot.c.limit_id)
    # The limits are locked in the order of their names, as `acquire` does.
    query = select(concurrency_slot, concurrency_limit).select_from(joined).where(condition)
    rows = connection.execute(query.order_by(concurrency_limit.c.name).with_for_update(of=concurrency_limit)).all()
    connection.execute(delete(concurrency_slot).where(condition))
    if rows:
        slot_calls.note(connection)
    for row in rows:
        changes: dict[str, Any] = {}
        if row.slot_decay_per_second > 0:
            left, since = decay(row.decaying_slots, per_second=row.slot_decay_per_second, since=row.decayed, now=now)
            changes = {"decaying_slots": max(left - row.slots, 0), "decayed": since}
        if occupancy_seconds is not None:
            average = row.avg_slot_occupancy_seconds
            changes["avg_slot_occupancy_seconds"] = average_occupancy(
                average, limit=row.slot_limit, seconds=occupancy_seconds
            )
        if changes:
            connection.execute(
                update(concurrency_limit).where(concurrency_limit.c.id == row.limit_id).values(**changes)
            )
    return bool(rows)


def _lock(connection: Connection, condition: Any) -> None:
    # In the order of their names, so that two requests cannot wait for each other.
    query = select(concurrency_limit.c.id).where(condition).order_by(concurrency_limit.c.name).with_for_update()
    connection.execute(query).all()


def _leave_queue(connection: Connection, lease_ids: Sequence[UUID]) -> bool:
    left = delete(concurrency_waiter).where(concurrency_waiter.c.lease_id.in_(lease_ids))
    return connection.execute(left).rowcount > 0


def _existing(connection: Connection, names: Sequence[str]) -> Sequence[str]:
    return (
        connection.execute(select(concurrency_limit.c.name).where(concurrency_limit.c.name.in_(names))).scalars().all()
    )


def _select(now: datetime) -> Select[Any]:
    here = concurrency_limit.c.id
    taken = select(func.coalesce(func.sum(concurrency_slot.c.slots), 0)).where(concurrency_slot.c.limit_id == here)
    wanted = select(func.coalesce(func.sum(concurrency_waiter.c.slots), 0)).where(
        concurrency_waiter.c.limit_id == here,
        concurrency_waiter.c.seen > now - timedelta(seconds=WAITER_SECONDS),
    )
    return select(concurrency_limit, taken.scalar_subquery().label("taken"), wanted.scalar_subquery().label("wanted"))


def _uses(connection: Connection, request: SlotRequest, now: datetime) -> list[LimitUse]:
    rows = connection.execute(_select(now).where(concurrency_limit.c.name.in_(request.names))).all()
    return [_use_of(connection, row, request, now) for row in rows]


def _use_of(connection: Connection, row: Row[Any], request: SlotRequest, now: datetime) -> LimitUse:
    limit = _limit_of(row, now)
    earlier = connection.execute(
        select(func.count())
        .select_from(concurrency_waiter)
        .where(
            concurrency_waiter.c.limit_id == row.id,
            concurrency_waiter.c.lease_id < request.lease_id,
            concurrency_waiter.c.seen > now - timedelta(seconds=WAITER_SECONDS),
        )
    ).scalar_one()
    own = connection.execute(
        select(concurrency_waiter.c.slots).where(
            concurrency_waiter.c.limit_id == row.id, concurrency_waiter.c.lease_id == request.lease_id
        )
    ).scalar()
    limit.denied_slots -= own or 0
    since = decay(row.decaying_slots, per_second=row.slot_decay_per_second, since=row.decayed, now=now)[1]
    seconds = max((now - since).total_seconds(), 0.0) if row.slot_decay_per_second > 0 else 0.0
    return LimitUse(limit, earlier_requests=earlier, seconds_since_decay=seconds)


def _is_named(name: str) -> Any:
    try:
        return or_(concurrency_limit.c.name == name, concurrency_limit.c.id == UUID(name))
    except ValueError:
        return concurrency_limit.c.name == name


def _limit_of(row: Row[Any], now: datetime) -> ConcurrencyLimit:
    taken = row.taken
    if row.slot_decay_per_second > 0:
        taken = decay(row.decaying_slots, per_second=row.slot_decay_per_second, since=row.decayed, now=now)[0]
    return ConcurrencyLimit(
        name=row.name,
        limit=row.slot_limit,
        id=row.id,
        active=row.active,
        active_slots=int(taken),
        denied_slots=int(row.wanted),
        slot_decay_per_second=row.slot_decay_per_second,
        avg_slot_occupancy_seconds=row.avg_slot_occupancy_seconds,
        created=row.created,
        updated=row.updated,
    )


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
