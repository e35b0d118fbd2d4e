"""Filters across nouns: flow runs of flows that ..., flows with flow runs that ...

Several filters of one request are put together with AND, each as EXISTS over the related objects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.work_pools import WorkPoolFilter, WorkQueueFilter
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition
from flowyard.store.filtering.flows import flow_condition


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The filters of one request; None takes everything."""

    flows: FlowFilter | None = None
    flow_runs: FlowRunFilter | None = None
    task_runs: TaskRunFilter | None = None
    deployments: DeploymentFilter | None = None
    work_pools: WorkPoolFilter | None = None
    work_queues: WorkQueueFilter | None = None


def of_flows(dialect: Dialect, filters: Filters) -> Iterable[Condition]:
    """Return the conditions on the rows of `flow`."""
    if filters.flows is not None:
        yield flow_condition(dialect, filters.flows)
