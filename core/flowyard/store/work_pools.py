"""Rows of work pools."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete as delete_from
from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.schemas.api.work_pools import (
    WorkerStatus,
    WorkPool,
    WorkPoolCreate,
    WorkPoolFilter,
    WorkPoolStatus,
    WorkQueueCreate,
)
from flowyard.schemas.ids import new_id
from flowyard.store import work_queues
from flowyard.store.deployment_tables import work_pool, work_queue, worker
from flowyard.store.filtering.work_pools import work_pool_condition
from flowyard.store.ordering import Order, Page
from flowyard.store.statuses import change_status

DEFAULT_QUEUE = "default"
AGENT_POOL = "default-agent-pool"
"""The pool of queues that belong to no other: those of Prefect 2.7's agents. Made when it is first needed."""


def create(connection: Connection, body: WorkPoolCreate, *, now: datetime) -> WorkPool:
    """Store a new work pool with its default queue.

    Raises:
        ObjectAlreadyExists: there is one of that name.
    """
    if connection.execute(select(work_pool.c.id).where(work_pool.c.name == body.name)).first():
        raise ObjectAlreadyExists("work pool", body.name)
    pool_id, queue_id = new_id(), new_id()
    status = WorkPoolStatus.PAUSED if body.is_paused else WorkPoolStatus.NOT_READY
    values = {**body.model_dump(), "id": pool_id, "default_queue_id": queue_id, "status": status.value}
    connection.execute(insert(work_pool), {**values, "created": now, "updated": now})
    queue = WorkQueueCreate(name=DEFAULT_QUEUE, description="The default queue of its work pool.", priority=1)
    work_queues.create(connection, pool_id, queue, queue_id=queue_id, now=now)
    return read(connection, body.name)


def agent_pool(connection: Connection, *, now: datetime) -> WorkPool:
    """Return the pool of queues that belong to no other."""
    try:
        return read(connection, AGENT_POOL)
    except ObjectNotFound:
        return create(connection, WorkPoolCreate(name=AGENT_POOL, type="prefect-agent"), now=now)


def read(connection: Connection, name: str) -> WorkPool:
    """Return a work pool by its name.

    Raises:
        ObjectNotFound: there is none.
    """
    row = connection.execute(select(work_pool).where(work_pool.c.name == name)).first()
    if row is None:
        raise ObjectNotFound("work pool", name)
    return _pool_of(row)


def find_by_queue(connection: Connection, work_queue_id: UUID) -> WorkPool | None:
    """Return the work pool of a queue."""
    joined = work_pool.join(work_queue, work_queue.c.work_pool_id == work_pool.c.id)
    query = select(*work_pool.c).select_from(joined).where(work_queue.c.id == work_queue_id)
    row = connection.execute(query).first()
    return None if row is None else _pool_of(row)


def read_many(connection: Connection, where: WorkPoolFilter | None, page: Page) -> list[WorkPool]:
    """Return work pools in the order of their names."""
    query = page.of(connection, select(work_pool), Order(work_pool.c.name), work_pool.c.id, "work pool")
    if where is not None:
        query = query.where(work_pool_condition(where))
    return [_pool_of(row) for row in connection.execute(query)]


def count(connection: Connection, where: WorkPoolFilter | None) -> int:
    """Count work pools."""
    query = select(func.count()).select_from(work_pool)
    if where is not None:
        query = query.where(work_pool_condition(where))
    return connection.execute(query).scalar_one()


def change(connection: Connection, name: str, changes: dict[str, Any], *, now: datetime) -> None:
    """Change columns of a work pool, and its status if it is paused or goes on.

    Raises:
        ObjectNotFound: there is none of that name.
    """
    pool = read(connection, name)
    connection.execute(update(work_pool).where(work_pool.c.id == pool.id).values(**changes, updated=now))
    is_paused = changes.get("is_paused")
    if is_paused is not None and is_paused != (pool.status is WorkPoolStatus.PAUSED):
        status = _status(connection, pool.id, is_paused=is_paused)
        change_status(connection, work_pool, status.value, work_pool.c.id == pool.id)


def mark_ready(connection: Connection, pool: WorkPool, *, now: datetime) -> None:
    """Say that a pool has a worker, unless it is paused."""
    silent = work_pool.c.status == WorkPoolStatus.NOT_READY.value
    change_status(connection, work_pool, WorkPoolStatus.READY.value, work_pool.c.id == pool.id, silent, now=now)


def mark_not_ready(connection: Connection, *, now: datetime) -> int:
    """Say so of the pools that have no worker online any more; return how many these are."""
    online = select(worker.c.work_pool_id).where(worker.c.status == WorkerStatus.ONLINE.value)
    is_ready = work_pool.c.status == WorkPoolStatus.READY.value
    unserved = work_pool.c.id.not_in(online)
    return change_status(connection, work_pool, WorkPoolStatus.NOT_READY.value, is_ready, unserved, now=now)


def delete(connection: Connection, name: str) -> None:
    """Delete a work pool with its queues and workers; deployments and runs stay, without a queue.

    Raises:
        ObjectNotFound: there is none of that name.
    """
    pool = read(connection, name)
    queues = select(work_queue.c.id).where(work_queue.c.work_pool_id == pool.id)
    work_queues.detach(connection, connection.execute(queues).scalars().all())
    for table in (work_queue, worker):
        connection.execute(delete_from(table).where(table.c.work_pool_id == pool.id))
    connection.execute(delete_from(work_pool).where(work_pool.c.id == pool.id))


def _status(connection: Connection, pool_id: UUID, *, is_paused: bool) -> WorkPoolStatus:
    if is_paused:
        return WorkPoolStatus.PAUSED
    online = select(worker.c.id).where(worker.c.work_pool_id == pool_id, worker.c.status == WorkerStatus.ONLINE.value)
    return WorkPoolStatus.READY if connection.execute(online).first() else WorkPoolStatus.NOT_READY


def _pool_of(row: Row[Any]) -> WorkPool:
    return WorkPool(**row._mapping)  # pyright: ignore[reportPrivateUsage]  SQLAlchemy's name for it
