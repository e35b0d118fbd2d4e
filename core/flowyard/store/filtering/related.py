"""Filters across nouns: flow runs of flows that ..., flows with flow runs that ...

Several filters of one request are put together with AND, each as a condition that a related object exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import exists, select

from flowyard.schemas.api.base import Operator
from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.work_pools import WorkPoolFilter, WorkQueueFilter
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition
from flowyard.store.filtering.flow_runs import flow_run_condition
from flowyard.store.filtering.flows import flow_condition
from flowyard.store.filtering.task_runs import task_run_condition
from flowyard.store.tables import flow, flow_run, task_run


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
    if filters.flow_runs is not None:
        yield exists().where(flow_run.c.flow_id == flow.c.id, flow_run_condition(dialect, filters.flow_runs))
    if filters.task_runs is not None:
        yield exists().where(
            flow_run.c.flow_id == flow.c.id,
            task_run.c.flow_run_id == flow_run.c.id,
            task_run_condition(dialect, filters.task_runs),
        )


def of_flow_runs(dialect: Dialect, filters: Filters) -> Iterable[Condition]:
    """Return the conditions on the rows of `flow_run`."""
    if filters.flow_runs is not None:
        yield flow_run_condition(dialect, filters.flow_runs)
    if filters.flows is not None:
        # IN, not EXISTS: there are few flows, and their runs have an index.
        yield flow_run.c.flow_id.in_(select(flow.c.id).where(flow_condition(dialect, filters.flows)))
    if filters.task_runs is not None:
        yield exists().where(task_run.c.flow_run_id == flow_run.c.id, task_run_condition(dialect, filters.task_runs))


def of_task_runs(dialect: Dialect, filters: Filters) -> Iterable[Condition]:
    """Return the conditions on the rows of `task_run`."""
    if filters.task_runs is not None:
        yield task_run_condition(dialect, filters.task_runs)
    if filters.flow_runs is not None:
        of_runs = filters.flow_runs
        if of_runs.operator is Operator.and_ and of_runs.id is not None and of_runs.id.any_ is not None:
            # Said twice, because this way it is an index look-up: the task runs of one flow run, the usual question.
            yield task_run.c.flow_run_id.in_(of_runs.id.any_)
        yield task_run.c.flow_run_id.in_(select(flow_run.c.id).where(flow_run_condition(dialect, of_runs)))
    if filters.flows is not None:
        of_flow = select(flow.c.id).where(flow_condition(dialect, filters.flows))
        yield task_run.c.flow_run_id.in_(select(flow_run.c.id).where(flow_run.c.flow_id.in_(of_flow)))
