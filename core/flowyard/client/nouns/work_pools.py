"""Work pools and their workers."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun, in_path
from flowyard.client.schemas.runs import WorkerFlowRunResponse
from flowyard.exceptions import ObjectAlreadyExists
from flowyard.schemas.api.work_pools import (
    WorkerFilter,
    WorkerResponse,
    WorkPool,
    WorkPoolCreate,
    WorkPoolFilter,
    WorkPoolUpdate,
)


class WorkPoolCalls(Noun):
    """Work pools: made, read, changed, deleted; what is handed out to their workers."""

    @call
    async def create_work_pool(self, work_pool: WorkPoolCreate, overwrite: bool = False) -> WorkPool:
        """Make a work pool; with `overwrite` one of that name is changed, but for its type.

        Raises:
            ObjectAlreadyExists: there is one of that name.
        """
        name = work_pool.name
        try:
            return await self._make(WorkPool, "/work_pools/", work_pool, about=("work pool", name))
        except ObjectAlreadyExists:
            if not overwrite:
                raise
        changes = {field: getattr(work_pool, field) for field in work_pool.model_fields_set - {"name", "type"}}
        await self.update_work_pool(name, WorkPoolUpdate(**changes))
        return await self.read_work_pool(name)

    @call
    async def read_work_pool(self, work_pool_name: str) -> WorkPool:
        """Return a work pool.

        Raises:
            ObjectNotFound: there is no such work pool.
        """
        return await self._read(WorkPool, _path(work_pool_name), about=("work pool", work_pool_name))

    @call
    async def read_work_pools(
        self, limit: int | None = None, offset: int = 0, work_pool_filter: WorkPoolFilter | None = None
    ) -> list[WorkPool]:
        """Return work pools; 200 when there is no limit."""
        body = {"limit": limit, "offset": offset, "work_pools": work_pool_filter}
        return await self._list(WorkPool, "/work_pools/filter", body)

    @call
    async def update_work_pool(self, work_pool_name: str, work_pool: WorkPoolUpdate) -> None:
        """Change what is set in an update of a work pool.

        Raises:
            ObjectNotFound: there is no such work pool.
        """
        await self._ask("PATCH", _path(work_pool_name), json=work_pool, about=("work pool", work_pool_name))

    @call
    async def delete_work_pool(self, work_pool_name: str) -> None:
        """Delete a work pool with its queues; its deployments stay, without one.

        Raises:
            ObjectNotFound: there is no such work pool.
        """
        await self._ask("DELETE", _path(work_pool_name), about=("work pool", work_pool_name))

    @call
    async def get_scheduled_flow_runs_for_work_pool(
        self,
        work_pool_name: str,
        work_queue_names: list[str] | None = None,
        scheduled_before: datetime | None = None,
    ) -> list[WorkerFlowRunResponse]:
        """Return the runs that a worker of the pool does next, as far as limits and priorities let them go.

        Raises:
            ObjectNotFound: there is no such work pool, or no such queue of it.
        """
        body = {"work_queue_names": work_queue_names, "scheduled_before": scheduled_before}
        path = f"{_path(work_pool_name)}/get_scheduled_flow_runs"
        return await self._list(WorkerFlowRunResponse, path, body, about=("work pool", work_pool_name))

    @call
    async def send_worker_heartbeat(
        self, work_pool_name: str, worker_name: str, heartbeat_interval_seconds: float | None = None
    ) -> None:
        """Say that a worker is there.

        Raises:
            ObjectNotFound: there is no such work pool.
        """
        interval = None if heartbeat_interval_seconds is None else max(1, round(heartbeat_interval_seconds))
        await self._ask(
            "POST",
            f"{_path(work_pool_name)}/workers/heartbeat",
            json={"name": worker_name, "heartbeat_interval_seconds": interval},
            about=("work pool", work_pool_name),
            is_repeatable=True,
        )

    @call
    async def read_workers_for_work_pool(
        self,
        work_pool_name: str,
        worker_filter: WorkerFilter | None = None,
        offset: int | None = None,
        limit: int | None = None,
    ) -> list[WorkerResponse]:
        """Return the workers of a work pool, the one that was heard of last first; 200 when there is no limit.

        Raises:
            ObjectNotFound: there is no such work pool.
        """
        body = {"workers": worker_filter, "offset": offset, "limit": limit}
        about = ("work pool", work_pool_name)
        return await self._list(WorkerResponse, f"{_path(work_pool_name)}/workers/filter", body, about=about)


def _path(work_pool_name: str | UUID) -> str:
    return f"/work_pools/{in_path(work_pool_name)}"
