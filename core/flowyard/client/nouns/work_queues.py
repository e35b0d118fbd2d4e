"""Work queues."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun, in_path
from flowyard.client.schemas.runs import FlowRun
from flowyard.schemas.api.work_pools import (
    QueueFilter,
    WorkQueueCreate,
    WorkQueueFilter,
    WorkQueueFilterName,
    WorkQueueResponse,
    WorkQueueStatusDetail,
    WorkQueueUpdate,
)


class WorkQueueCalls(Noun):
    """Work queues: made, read, changed, deleted; what agents get from them."""

    @call
    async def create_work_queue(
        self,
        name: str,
        tags: list[str] | None = None,
        description: str | None = None,
        is_paused: bool | None = None,
        concurrency_limit: int | None = None,
        priority: int | None = None,
        work_pool_name: str | None = None,
    ) -> WorkQueueResponse:
        """Make a work queue in a work pool; without one, in that of Prefect 2's agents.

        Args:
            name: of the queue, one of its pool.
            tags: take the runs with all of these tags, as queues of Prefect 2.7 did.
            description: for people.
            is_paused: hand nothing out.
            concurrency_limit: how many of its runs may go on at a time.
            priority: 1 is served first; by default after all others of the pool.
            work_pool_name: its pool.

        Raises:
            ObjectAlreadyExists: the pool has one of that name.
            ObjectNotFound: there is no such work pool.
        """
        given: dict[str, Any] = {
            "filter": None if tags is None else QueueFilter(tags=tags),
            "description": description,
            "is_paused": is_paused,
            "concurrency_limit": concurrency_limit,
            "priority": priority,
        }
        body = WorkQueueCreate(name=name, **{field: value for field, value in given.items() if value is not None})
        return await self._make(WorkQueueResponse, _queues(work_pool_name), body, about=("work queue", name))

    @call
    async def read_work_queue_by_name(self, name: str, work_pool_name: str | None = None) -> WorkQueueResponse:
        """Return the work queue of a name of a work pool; without one, of that of Prefect 2's agents.

        Raises:
            ObjectNotFound: there is no such queue.
        """
        path = f"/work_queues/name/{in_path(name)}"
        if work_pool_name is not None:
            path = f"/work_pools/{in_path(work_pool_name)}/queues/{in_path(name)}"
        return await self._read(WorkQueueResponse, path, about=("work queue", name))

    @call
    async def read_work_queue(self, id: UUID) -> WorkQueueResponse:
        """Return a work queue.

        Raises:
            ObjectNotFound: there is no such queue.
        """
        return await self._read(WorkQueueResponse, f"/work_queues/{id}", about=("work queue", id))

    @call
    async def read_work_queue_status(self, id: UUID) -> WorkQueueStatusDetail:
        """Say whether a work queue is served: no run is late, and the last poll is less than a minute ago.

        Raises:
            ObjectNotFound: there is no such queue.
        """
        return await self._read(WorkQueueStatusDetail, f"/work_queues/{id}/status", about=("work queue", id))

    @call
    async def read_work_queues(
        self,
        work_pool_name: str | None = None,
        work_queue_filter: WorkQueueFilter | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> list[WorkQueueResponse]:
        """Return the work queues of a work pool; without one, of all; 200 when there is no limit.

        Raises:
            ObjectNotFound: there is no such work pool.
        """
        body = {"work_queues": work_queue_filter, "limit": limit, "offset": offset}
        path = f"{_queues(work_pool_name)}filter" if work_pool_name is None else f"{_queues(work_pool_name)}/filter"
        return await self._list(WorkQueueResponse, path, body, about=("work pool", work_pool_name))

    @call
    async def match_work_queues(
        self, prefixes: list[str], work_pool_name: str | None = None
    ) -> list[WorkQueueResponse]:
        """Return the work queues whose names begin with one of these prefixes, however many there are."""
        where = WorkQueueFilter(name=WorkQueueFilterName(startswith_=prefixes))
        found: list[WorkQueueResponse] = []
        while True:
            page = await self.read_work_queues(work_pool_name, where, offset=len(found))
            if not page:
                return found
            found += page

    @call
    async def update_work_queue(self, id: UUID, **kwargs: Any) -> None:
        """Change fields of a work queue: those of `WorkQueueUpdate`.

        Raises:
            ObjectNotFound: there is no such queue.
            ValueError: nothing is to be changed.
        """
        if not kwargs:
            raise ValueError(f"say what to change of work queue {id}, such as is_paused=True")
        await self._ask("PATCH", f"/work_queues/{id}", json=WorkQueueUpdate(**kwargs), about=("work queue", id))

    @call
    async def delete_work_queue_by_id(self, id: UUID) -> None:
        """Delete a work queue; its deployments stay, without one.

        Raises:
            ObjectNotFound: there is no such queue.
        """
        await self._ask("DELETE", f"/work_queues/{id}", about=("work queue", id))

    @call
    async def get_runs_in_work_queue(
        self, id: UUID, limit: int = 10, scheduled_before: datetime | None = None
    ) -> list[FlowRun]:
        """Return the runs of a work queue that an agent does next.

        Raises:
            ObjectNotFound: there is no such queue.
        """
        body = {"limit": limit, "scheduled_before": scheduled_before}
        return await self._list(FlowRun, f"/work_queues/{id}/get_runs", body, about=("work queue", id))


def _queues(work_pool_name: str | None) -> str:
    return "/work_queues/" if work_pool_name is None else f"/work_pools/{in_path(work_pool_name)}/queues"
