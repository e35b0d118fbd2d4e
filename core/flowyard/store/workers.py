"""Rows of workers: who serves a work pool, and when it was last heard of."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.work_pools import WorkerFilter, WorkerResponse, WorkerStatus
from flowyard.schemas.ids import new_id
from flowyard.store.deployment_tables import worker
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.work_pools import worker_condition
from flowyard.store.ordering import Order, Page
from flowyard.store.statuses import change_status


def heartbeat(
    connection: Connection,
    dialect: Dialect,
    work_pool_id: UUID,
    name: str,
    *,
    interval_seconds: int | None,
    now: datetime,
) -> None:
    """Say that a worker is there; one that was never heard of before is made."""
    seen: dict[str, Any] = {
        "last_heartbeat_time": now,
        "heartbeat_interval_seconds": interval_seconds,
        "updated": now,
    }
    made = {"id": new_id(), "name": name, "work_pool_id": work_pool_id, "status": WorkerStatus.OFFLINE.value}
    statement = dialect.insert(worker).values(**made, created=now, **seen)
    connection.execute(
        statement.on_conflict_do_update(index_elements=[worker.c.work_pool_id, worker.c.name], set_=seen)
    )
    named = worker.c.work_pool_id == work_pool_id, worker.c.name == name
    change_status(connection, worker, WorkerStatus.ONLINE.value, *named)


def read_many(
    connection: Connection, work_pool_id: UUID, where: WorkerFilter | None, page: Page
) -> list[WorkerResponse]:
    """Return the workers of a pool, the one that was heard of last first."""
    query = select(worker).where(worker.c.work_pool_id == work_pool_id)
    if where is not None:
        query = query.where(worker_condition(where))
    latest_first = Order(worker.c.last_heartbeat_time, is_descending=True, is_nullable=True)
    query = page.of(connection, query, latest_first, worker.c.id, "worker")
    return [_worker_of(row) for row in connection.execute(query)]


def delete(connection: Connection, work_pool_id: UUID, name: str) -> None:
    """Delete a worker; it comes back with its next heartbeat.

    Raises:
        ObjectNotFound: the pool has none of that name.
    """
    found = delete_from(worker).where(worker.c.work_pool_id == work_pool_id, worker.c.name == name)
    if not connection.execute(found).rowcount:
        raise ObjectNotFound("worker", name)


def mark_offline(connection: Connection, *, now: datetime, missed: int, fallback_seconds: int) -> list[str]:
    """Say so of the workers that have missed so many heartbeats; return their names.

    Args:
        connection: to write with.
        now: the present time.
        missed: heartbeats in a row.
        fallback_seconds: between two heartbeats of a worker that does not say.
    """
    gone: list[str] = []
    for row in connection.execute(select(worker).where(worker.c.status == WorkerStatus.ONLINE.value)):
        interval = row.heartbeat_interval_seconds or fallback_seconds
        if row.last_heartbeat_time < now - timedelta(seconds=interval * missed):
            # Only if it has not been heard of meanwhile.
            unheard = (worker.c.id == row.id) & (worker.c.last_heartbeat_time == row.last_heartbeat_time)
            if change_status(connection, worker, WorkerStatus.OFFLINE.value, unheard, now=now):
                gone.append(row.name)
    return gone


def _worker_of(row: Row[Any]) -> WorkerResponse:
    return WorkerResponse(**row._mapping)  # pyright: ignore[reportPrivateUsage]  SQLAlchemy's name for it
