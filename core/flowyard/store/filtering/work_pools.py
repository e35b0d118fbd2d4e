"""The filters of work pools, work queues and workers."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import false, or_

from flowyard.schemas.api.work_pools import WorkerFilter, WorkPoolFilter, WorkQueueFilter
from flowyard.store.deployment_tables import work_pool, work_queue, worker
from flowyard.store.filtering.conditions import Condition, combined, is_any, is_between, is_not_any


def work_pool_condition(where: WorkPoolFilter) -> Condition:
    """Return the condition of one filter on the rows of `work_pool`."""
    return combined(_pool_parts(where), where.operator)


def work_queue_condition(where: WorkQueueFilter) -> Condition:
    """Return the condition of one filter on the rows of `work_queue`."""
    return combined(_queue_parts(where), where.operator)


def worker_condition(where: WorkerFilter) -> Condition:
    """Return the condition of one filter on the rows of `worker`."""
    return combined(_worker_parts(where), where.operator)


def _pool_parts(where: WorkPoolFilter) -> Iterable[Condition]:
    if where.id is not None:
        yield combined(is_any(work_pool.c.id, where.id.any_))
    if where.name is not None:
        yield combined(is_any(work_pool.c.name, where.name.any_))
    if where.type is not None:
        yield combined(is_any(work_pool.c.type, where.type.any_))


def _queue_parts(where: WorkQueueFilter) -> Iterable[Condition]:
    if where.id is not None:
        yield combined(is_any(work_queue.c.id, where.id.any_))
    if where.name is not None:
        name = where.name
        yield combined([*is_any(work_queue.c.name, name.any_), *_starts_with(name.startswith_)])


def _starts_with(prefixes: list[str] | None) -> Iterable[Condition]:
    if prefixes is not None:
        # Whatever its case, as Prefect 2 has it.
        yield or_(false(), *(work_queue.c.name.istartswith(prefix, autoescape=True) for prefix in prefixes))


def _worker_parts(where: WorkerFilter) -> Iterable[Condition]:
    if (heard := where.last_heartbeat_time) is not None:
        yield combined(is_between(worker.c.last_heartbeat_time, before=heard.before_, after=heard.after_))
    if where.status is not None:
        any_, not_any = where.status.any_, where.status.not_any_
        yield combined(
            [
                *is_any(worker.c.status, None if any_ is None else [status.value for status in any_]),
                *is_not_any(worker.c.status, None if not_any is None else [status.value for status in not_any]),
            ]
        )
