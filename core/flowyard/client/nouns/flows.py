"""Flows."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun, filters_of, in_path, made_id
from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.flows import Flow, FlowCreate
from flowyard.schemas.api.sorting import FlowSort
from flowyard.schemas.api.work_pools import WorkPoolFilter, WorkQueueFilter


class Named(Protocol):
    """What `create_flow` needs of a flow."""

    @property
    def name(self) -> str: ...  # noqa: D102


class FlowCalls(Noun):
    """Flows by id and by name."""

    @call
    async def create_flow(self, flow: Named) -> UUID:
        """Register a flow by its name, if it is not, and return its id."""
        return await self.create_flow_from_name(flow.name)

    @call
    async def create_flow_from_name(self, flow_name: str) -> UUID:
        """Register a flow of a name, if there is none, and return its id."""
        made = await self._ask("POST", "/flows/", json=FlowCreate(name=flow_name), is_repeatable=True)
        return made_id(made)

    @call
    async def read_flow(self, flow_id: UUID) -> Flow:
        """Return a flow.

        Raises:
            ObjectNotFound: there is no such flow.
        """
        return await self._read(Flow, f"/flows/{flow_id}", about=("flow", flow_id))

    @call
    async def read_flow_by_name(self, flow_name: str) -> Flow:
        """Return the flow of a name.

        Raises:
            ObjectNotFound: there is no such flow.
        """
        return await self._read(Flow, f"/flows/name/{in_path(flow_name)}", about=("flow", flow_name))

    @call
    async def read_flows(
        self,
        *,
        flow_filter: FlowFilter | None = None,
        flow_run_filter: FlowRunFilter | None = None,
        task_run_filter: TaskRunFilter | None = None,
        deployment_filter: DeploymentFilter | None = None,
        work_pool_filter: WorkPoolFilter | None = None,
        work_queue_filter: WorkQueueFilter | None = None,
        sort: FlowSort | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[Flow]:
        """Return flows, by name unless `sort` says otherwise; 200 when there is no limit."""
        where = filters_of(
            flow_filter=flow_filter,
            flow_run_filter=flow_run_filter,
            task_run_filter=task_run_filter,
            deployment_filter=deployment_filter,
            work_pool_filter=work_pool_filter,
            work_queue_filter=work_queue_filter,
        )
        return await self._list(Flow, "/flows/filter", {**where, "sort": sort, "limit": limit, "offset": offset})

    @call
    async def delete_flow(self, flow_id: UUID) -> None:
        """Delete a flow with its deployments and its runs.

        Raises:
            ObjectNotFound: there is no such flow.
        """
        await self._ask("DELETE", f"/flows/{flow_id}", about=("flow", flow_id))
