"""Rows of work queues."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete as delete_from
from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.sql import Select

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.schemas.api.deployments import DeploymentStatus
from flowyard.schemas.api.work_pools import (
    WorkQueueCreate,
    WorkQueueFilter,
    WorkQueueResponse,
    WorkQueueStatus,
)
from flowyard.schemas.ids import new_id
from flowyard.store.deployment_tables import deployment, work_pool, work_queue
from flowyard.store.filtering.work_pools import work_queue_condition
from flowyard.store.ordering import Order, Page
from flowyard.store.statuses import change_status
from flowyard.store.tables import flow_run

POLL_TIMEOUT = timedelta(seconds=60)
"""A queue that nobody has polled for so long has nobody who serves it."""


def create(
    connection: Connection,
    work_pool_id: UUID,
    body: WorkQueueCreate,
    *,
    queue_id: UUID | None = None,
    now: datetime,
) -> WorkQueueResponse:
    """Store a new queue of a pool; others that stood at its place or behind it move back by one.

    Raises:
        ObjectAlreadyExists: the pool has one of that name.
    """
    _lock_pool(connection, work_pool_id)
    named = (work_queue.c.work_pool_id == work_pool_id) & (work_queue.c.name == body.name)
    if connection.execute(select(work_queue.c.id).where(named)).first():
        raise ObjectAlreadyExists("work queue", body.name)
    made = queue_id or new_id()
    values = {
        **body.model_dump(mode="json"),
        "id": made,
        "description": body.description or "",
        "priority": _make_place(connection, work_pool_id, body.priority),
        "status": (WorkQueueStatus.PAUSED if body.is_paused else WorkQueueStatus.NOT_READY).value,
        "work_pool_id": work_pool_id,
    }
    connection.execute(insert(work_queue), {**values, "created": now, "updated": now})
    return read(connection, made)


def ensure(connection: Connection, work_pool_id: UUID, name: str, *, now: datetime) -> WorkQueueResponse:
    """Return the queue of that name in a pool, made if there is none."""
    found = find(connection, work_pool_id, name)
    return found or create(connection, work_pool_id, WorkQueueCreate(name=name), now=now)


def find(connection: Connection, work_pool_id: UUID, name: str) -> WorkQueueResponse | None:
    """Return the queue of that name in a pool, or None."""
    row = connection.execute(_select().where(work_queue.c.work_pool_id == work_pool_id, work_queue.c.name == name))
    found = row.first()
    return None if found is None else _queue_of(found)


def read(connection: Connection, work_queue_id: UUID) -> WorkQueueResponse:
    """Return a queue.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(_select().where(work_queue.c.id == work_queue_id)).first()
    if row is None:
        raise ObjectNotFound("work queue", work_queue_id)
    return _queue_of(row)


def read_in(connection: Connection, pool_name: str, name: str) -> WorkQueueResponse:
    """Return a queue by its name and that of its pool.

    Raises:
        ObjectNotFound: there is no such pool, or it has no such queue.
    """
    row = connection.execute(_select().where(work_pool.c.name == pool_name, work_queue.c.name == name)).first()
    if row is None:
        raise ObjectNotFound("work queue", f"{pool_name}/{name}")
    return _queue_of(row)


def read_many(
    connection: Connection,
    where: WorkQueueFilter | None,
    page: Page,
    *,
    pool_name: str | None = None,
) -> list[WorkQueueResponse]:
    """Return queues in the order of their priority, then of their names."""
    order = Order(work_queue.c.priority, then=(work_queue.c.name,))
    query = page.of(connection, _select(), order, work_queue.c.id, "work queue")
    if pool_name is not None:
        query = query.where(work_pool.c.name == pool_name)
    if where is not None:
        query = query.where(work_queue_condition(where))
    return [_queue_of(row) for row in connection.execute(query)]


def of_pool(
    connection: Connection, work_pool_id: UUID, names: Collection[str] | None = None
) -> list[WorkQueueResponse]:
    """Return the queues of a pool, the first to be served first; with `names` those of these names."""
    query = _select().where(work_queue.c.work_pool_id == work_pool_id)
    if names is not None:
        query = query.where(work_queue.c.name.in_(names))
    return [_queue_of(row) for row in connection.execute(query.order_by(work_queue.c.priority, work_queue.c.id))]


def with_filter(connection: Connection) -> list[WorkQueueResponse]:
    """Return the queues that take runs by a filter."""
    return [_queue_of(row) for row in connection.execute(_select().where(work_queue.c.filter.is_not(None)))]


def change(connection: Connection, queue: WorkQueueResponse, changes: dict[str, Any], *, now: datetime) -> None:
    """Change columns of a queue, its status if it is paused or goes on, and the places of others if it moves.

    Raises:
        ObjectAlreadyExists: it gets the name of another one of its pool.
    """
    assert queue.work_pool_id is not None  # every queue has a pool
    values = dict(changes)
    _lock_pool(connection, queue.work_pool_id)
    name = values.get("name")
    if name is None:
        values.pop("name", None)
    elif name != queue.name and find(connection, queue.work_pool_id, name) is not None:
        raise ObjectAlreadyExists("work queue", name)
    if "description" in values:
        values["description"] = values["description"] or ""
    priority = values.pop("priority", None)
    if priority is not None and priority != queue.priority:
        values["priority"] = _make_place(connection, queue.work_pool_id, priority, besides=queue.id)
    is_paused = values.get("is_paused", queue.is_paused)
    polled: datetime | None = values.get("last_polled", queue.last_polled)
    if is_paused:
        status = WorkQueueStatus.PAUSED
    else:
        is_served = polled is not None and polled > now - POLL_TIMEOUT
        status = WorkQueueStatus.READY if is_served else WorkQueueStatus.NOT_READY
    changed = update(work_queue).where(work_queue.c.id == queue.id)
    connection.execute(changed.values(**values, updated=now))
    change_status(connection, work_queue, status.value, work_queue.c.id == queue.id)
    if name is not None and name != queue.name:
        connection.execute(update(flow_run).where(flow_run.c.work_queue_id == queue.id).values(work_queue_name=name))


def mark_polled(connection: Connection, queue_ids: Sequence[UUID], *, now: datetime) -> None:
    """Say that somebody serves these queues, and the deployments whose runs wait in them."""
    if not queue_ids:
        return
    polled, served = work_queue.c.id.in_(queue_ids), deployment.c.work_queue_id.in_(queue_ids)
    connection.execute(update(work_queue).where(polled).values(last_polled=now))
    connection.execute(update(deployment).where(served).values(last_polled=now))
    is_silent = work_queue.c.status == WorkQueueStatus.NOT_READY.value
    change_status(connection, work_queue, WorkQueueStatus.READY.value, polled, is_silent)
    change_status(connection, deployment, DeploymentStatus.READY.value, served)


def mark_not_ready(connection: Connection, *, polled_before: datetime) -> int:
    """Say so of the queues that nobody has polled since; return how many these are."""
    is_silent = work_queue.c.last_polled.is_(None) | (work_queue.c.last_polled <= polled_before)
    is_ready = work_queue.c.status == WorkQueueStatus.READY.value
    return change_status(connection, work_queue, WorkQueueStatus.NOT_READY.value, is_ready, is_silent)


def delete(connection: Connection, queue: WorkQueueResponse) -> None:
    """Delete a queue; deployments and runs stay, without one."""
    detach(connection, [queue.id])
    connection.execute(delete_from(work_queue).where(work_queue.c.id == queue.id))


def detach(connection: Connection, queue_ids: Sequence[UUID]) -> None:
    """Let deployments and runs have no queue where they have one of these."""
    for table in (deployment, flow_run):
        connection.execute(update(table).where(table.c.work_queue_id.in_(queue_ids)).values(work_queue_id=None))


def is_default(connection: Connection, work_queue_id: UUID) -> bool:
    """Say whether a queue is the default one of its pool."""
    found = select(work_pool.c.id).where(work_pool.c.default_queue_id == work_queue_id)
    return connection.execute(found).first() is not None


def _lock_pool(connection: Connection, work_pool_id: UUID) -> None:
    """Keep others from changing the queues of a pool until this transaction ends."""
    connection.execute(select(work_pool.c.id).where(work_pool.c.id == work_pool_id).with_for_update())


def _make_place(
    connection: Connection, work_pool_id: UUID, priority: int | None, *, besides: UUID | None = None
) -> int:
    """Return the place that a queue gets: by default the first free one.

    Whoever is at a certain place moves back, with all behind it.
    """
    others = work_queue.c.work_pool_id == work_pool_id
    if besides is not None:
        others &= work_queue.c.id != besides
    if priority is None:
        taken = set(connection.execute(select(work_queue.c.priority).where(others)).scalars())
        return next(place for place in itertools.count(1) if place not in taken)
    if connection.execute(select(work_queue.c.id).where(others, work_queue.c.priority == priority)).first():
        behind = update(work_queue).where(others, work_queue.c.priority >= priority)
        connection.execute(behind.values(priority=work_queue.c.priority + 1))
    return priority


def _select() -> Select[Any]:
    joined = work_queue.join(work_pool, work_pool.c.id == work_queue.c.work_pool_id)
    return select(*work_queue.c, work_pool.c.name.label("work_pool_name")).select_from(joined)


def _queue_of(row: Row[Any]) -> WorkQueueResponse:
    return WorkQueueResponse(**row._mapping)  # pyright: ignore[reportPrivateUsage]  SQLAlchemy's name for it
