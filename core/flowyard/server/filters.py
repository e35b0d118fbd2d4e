"""The filters that a list takes in its body, by the name that each kind of list gives them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import Body, Depends

from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.work_pools import WorkPoolFilter, WorkQueueFilter
from flowyard.store.filtering.related import Filters


async def _of_runs(
    flows: Annotated[FlowFilter | None, Body()] = None,
    flow_runs: Annotated[FlowRunFilter | None, Body()] = None,
    task_runs: Annotated[TaskRunFilter | None, Body()] = None,
    deployments: Annotated[DeploymentFilter | None, Body()] = None,
) -> Filters:
    return Filters(flows=flows, flow_runs=flow_runs, task_runs=task_runs, deployments=deployments)


TaskRunsFiltered = Annotated[Filters, Depends(_of_runs)]
"""Of a list of task runs."""
ArtifactsFiltered = TaskRunsFiltered
"""Of a list of artifacts: what they belong to."""


async def _of_flows(others: TaskRunsFiltered, work_pools: Annotated[WorkPoolFilter | None, Body()] = None) -> Filters:
    return replace(others, work_pools=work_pools)


FlowsFiltered = Annotated[Filters, Depends(_of_flows)]
"""Of a list of flows."""


async def _of_flow_runs(
    others: FlowsFiltered, work_pool_queues: Annotated[WorkQueueFilter | None, Body()] = None
) -> Filters:
    return replace(others, work_queues=work_pool_queues)


FlowRunsFiltered = Annotated[Filters, Depends(_of_flow_runs)]
"""Of a list of flow runs."""


async def _of_flow_run_history(
    others: FlowsFiltered, work_queues: Annotated[WorkQueueFilter | None, Body()] = None
) -> Filters:
    return replace(others, work_queues=work_queues)


FlowRunHistoryFiltered = Annotated[Filters, Depends(_of_flow_run_history)]
"""Of a history of flow runs, which has another name for work queues."""
