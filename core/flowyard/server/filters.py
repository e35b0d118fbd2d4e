"""The filters that a list takes in its body, by the name that each kind of list gives them."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Depends

from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.work_pools import WorkPoolFilter
from flowyard.store.filtering.related import Filters


def _of_flows(
    flows: Annotated[FlowFilter | None, Body()] = None,
    flow_runs: Annotated[FlowRunFilter | None, Body()] = None,
    task_runs: Annotated[TaskRunFilter | None, Body()] = None,
    deployments: Annotated[DeploymentFilter | None, Body()] = None,
    work_pools: Annotated[WorkPoolFilter | None, Body()] = None,
) -> Filters:
    return Filters(
        flows=flows, flow_runs=flow_runs, task_runs=task_runs, deployments=deployments, work_pools=work_pools
    )


FlowsFiltered = Annotated[Filters, Depends(_of_flows)]
"""Of a list of flows."""
