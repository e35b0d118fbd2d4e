"""Which flow runs those who serve a queue or a deployment get next.

Reading only: the one who makes a run PENDING has it.

A queue gives at most as many runs as its limit leaves free, a pool the same, where pending and running ones count. A
run that waits for its next attempt in its own process is never given away.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Text, cast, func, select
from sqlalchemy.engine import Connection, Row

from flowyard.schemas.api.work_pools import QueueFilter, WorkPool, WorkQueueResponse
from flowyard.schemas.states import StateType
from flowyard.store import work_pools, work_queues
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition, is_between
from flowyard.store.served_flow_runs import select_flow_runs
from flowyard.store.tables import flow_run

_ACTIVE = (StateType.PENDING.value, StateType.RUNNING.value)


@dataclass(frozen=True, slots=True)
class Window:
    """When the runs are scheduled for, both inclusive; None is no bound."""

    before: datetime | None = None
    after: datetime | None = None


def of_pool(
    connection: Connection, pool: WorkPool, queues: Sequence[WorkQueueResponse], window: Window, *, limit: int
) -> list[tuple[UUID, Row[Any]]]:
    """Return rows of `select_flow_runs`, each with the id of its queue.

    The queue of the highest priority is emptied first; in a queue, and among queues of the same priority, the run that
    was due first comes first.
    """
    free = _free(connection, pool.concurrency_limit, flow_run.c.work_queue_id.in_(_ids_of(connection, pool)))
    most = limit if free is None else min(limit, free)
    if pool.is_paused or most == 0:
        return []
    found: list[tuple[int, datetime, UUID, Row[Any]]] = []
    for queue in sorted(queues, key=lambda queue: queue.priority):
        if len(found) >= most and queue.priority > found[-1][0]:
            break
        rows = of_queue(connection, queue, window, limit=most)
        found.extend((queue.priority, row.next_scheduled_start_time, queue.id, row) for row in rows)
    found.sort(key=lambda entry: entry[:2])
    return [(queue_id, row) for _, _, queue_id, row in found[:most]]


def of_queue(connection: Connection, queue: WorkQueueResponse, window: Window, *, limit: int) -> Sequence[Row[Any]]:
    """Return rows of `select_flow_runs`: the runs of a queue, the one that was due first comes first."""
    return _next(connection, [flow_run.c.work_queue_id == queue.id], queue, window, limit=limit)


def of_queue_in_pool(
    connection: Connection, queue: WorkQueueResponse, window: Window, *, limit: int
) -> Sequence[Row[Any]]:
    """Return what `of_queue` does, as far as the pool of the queue lets them go too."""
    pool = work_pools.find_by_queue(connection, queue.id)
    assert pool is not None  # every queue has a pool
    return [row for _, row in of_pool(connection, pool, [queue], window, limit=limit)]


def by_filter(
    connection: Connection,
    dialect: Dialect,
    queue: WorkQueueResponse,
    where: QueueFilter,
    window: Window,
    *,
    limit: int,
) -> Sequence[Row[Any]]:
    """Return the runs of a queue of Prefect 2.7, which takes those that its filter meets."""
    conditions: list[Condition] = [flow_run.c.deployment_id.is_not(None)]
    if where.deployment_ids:
        conditions.append(flow_run.c.deployment_id.in_(where.deployment_ids))
    conditions.extend(dialect.json_array_has(flow_run.c.tags, tag) for tag in where.tags or ())
    return _next(connection, conditions, queue, window, limit=limit)


def of_deployments(
    connection: Connection, deployment_ids: Collection[UUID], window: Window, *, limit: int
) -> Sequence[Row[Any]]:
    """Return rows of `select_flow_runs`: the runs of deployments, the one that was due first comes first."""
    return _due(connection, [flow_run.c.deployment_id.in_(deployment_ids)], window, limit=limit)


def count_late(connection: Connection, queue: WorkQueueResponse) -> int:
    """Return how many runs of a queue are late."""
    late = (flow_run.c.state_type == StateType.SCHEDULED.value) & (flow_run.c.state_name == "Late")
    query = select(func.count()).select_from(flow_run).where(flow_run.c.work_queue_id == queue.id, late)
    return connection.execute(query).scalar_one()


def _next(
    connection: Connection, conditions: list[Condition], queue: WorkQueueResponse, window: Window, *, limit: int
) -> Sequence[Row[Any]]:
    free = _free(connection, queue.concurrency_limit, *conditions)
    if queue.is_paused or free == 0:
        return []
    return _due(connection, conditions, window, limit=limit if free is None else min(limit, free))


def _due(connection: Connection, conditions: list[Condition], window: Window, *, limit: int) -> Sequence[Row[Any]]:
    due = flow_run.c.next_scheduled_start_time
    query = select_flow_runs(
        *conditions,
        flow_run.c.state_type == StateType.SCHEDULED.value,
        # Said as well, because the index has only these.
        due.is_not(None),
        *is_between(due, before=window.before, after=window.after),
        ~_waits_in_its_process(),
    )
    return connection.execute(query.order_by(due, flow_run.c.id).limit(limit)).all()


def _free(connection: Connection, limit: int | None, *conditions: Condition) -> int | None:
    if limit is None:
        return None
    query = select(func.count()).select_from(flow_run).where(*conditions, flow_run.c.state_type.in_(_ACTIVE))
    return max(limit - connection.execute(query).scalar_one(), 0)


def _waits_in_its_process() -> Condition:
    # In the text of the policy, with and without the space that PostgreSQL writes: quotes in values are escaped there.
    policy = cast(flow_run.c.empirical_policy, Text)
    return policy.contains('"retry_type": "in_process"', autoescape=True) | policy.contains(
        '"retry_type":"in_process"', autoescape=True
    )


def _ids_of(connection: Connection, pool: WorkPool) -> list[UUID]:
    return [queue.id for queue in work_queues.of_pool(connection, pool.id)]
