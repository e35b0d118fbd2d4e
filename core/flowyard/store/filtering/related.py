"""Filters across nouns: flow runs of flows that ..., flows with flow runs that ...

Several filters of one request are put together with AND, each as a condition that a related object exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.sql import Select

from flowyard.schemas.api.base import Operator
from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.work_pools import WorkPoolFilter, WorkQueueFilter
from flowyard.store.deployment_tables import deployment, work_pool, work_queue
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition, one_of
from flowyard.store.filtering.deployments import deployment_condition
from flowyard.store.filtering.flow_runs import flow_run_condition
from flowyard.store.filtering.flows import flow_condition
from flowyard.store.filtering.task_runs import task_run_condition
from flowyard.store.filtering.work_pools import work_pool_condition, work_queue_condition
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
    if filters.deployments is not None:
        yield exists().where(deployment.c.flow_id == flow.c.id, deployment_condition(dialect, filters.deployments))
    for queues in _queues(filters):
        yield exists().where(deployment.c.flow_id == flow.c.id, deployment.c.work_queue_id.in_(queues))


def of_flow_runs(dialect: Dialect, filters: Filters) -> Iterable[Condition]:
    """Return the conditions on the rows of `flow_run`."""
    if filters.flow_runs is not None:
        yield flow_run_condition(dialect, filters.flow_runs)
    if filters.flows is not None:
        # IN, not EXISTS: there are few flows, and their runs have an index.
        yield flow_run.c.flow_id.in_(select(flow.c.id).where(flow_condition(dialect, filters.flows)))
    if filters.task_runs is not None:
        yield exists().where(task_run.c.flow_run_id == flow_run.c.id, task_run_condition(dialect, filters.task_runs))
    if filters.deployments is not None:
        yield flow_run.c.deployment_id.in_(_ids(dialect, filters.deployments))
    for queues in _queues(filters):
        yield flow_run.c.work_queue_id.in_(queues)


def of_task_runs(dialect: Dialect, filters: Filters) -> Iterable[Condition]:
    """Return the conditions on the rows of `task_run`."""
    if filters.task_runs is not None:
        yield task_run_condition(dialect, filters.task_runs)
    if filters.flow_runs is not None:
        of_runs = filters.flow_runs
        if of_runs.operator is Operator.and_ and of_runs.id is not None and of_runs.id.any_ is not None:
            # Said twice, because this way it is an index look-up: the task runs of one flow run, the usual question.
            yield one_of(task_run.c.flow_run_id, of_runs.id.any_)
        yield task_run.c.flow_run_id.in_(select(flow_run.c.id).where(flow_run_condition(dialect, of_runs)))
    if filters.flows is not None:
        of_flow = select(flow.c.id).where(flow_condition(dialect, filters.flows))
        yield task_run.c.flow_run_id.in_(select(flow_run.c.id).where(flow_run.c.flow_id.in_(of_flow)))
    if filters.deployments is not None:
        of_deployment = flow_run.c.deployment_id.in_(_ids(dialect, filters.deployments))
        yield task_run.c.flow_run_id.in_(select(flow_run.c.id).where(of_deployment))
    for queues in _queues(filters):
        yield task_run.c.flow_run_id.in_(select(flow_run.c.id).where(flow_run.c.work_queue_id.in_(queues)))


def of_deployments(dialect: Dialect, filters: Filters) -> Iterable[Condition]:
    """Return the conditions on the rows of `deployment`."""
    if filters.deployments is not None:
        yield deployment_condition(dialect, filters.deployments)
    if filters.flows is not None:
        yield deployment.c.flow_id.in_(select(flow.c.id).where(flow_condition(dialect, filters.flows)))
    if filters.flow_runs is not None:
        of_runs = flow_run_condition(dialect, filters.flow_runs)
        yield exists().where(flow_run.c.deployment_id == deployment.c.id, of_runs)
    if filters.task_runs is not None:
        yield exists().where(
            flow_run.c.deployment_id == deployment.c.id,
            task_run.c.flow_run_id == flow_run.c.id,
            task_run_condition(dialect, filters.task_runs),
        )
    for queues in _queues(filters):
        yield deployment.c.work_queue_id.in_(queues)


def _ids(dialect: Dialect, where: DeploymentFilter) -> Select[Any]:
    return select(deployment.c.id).where(deployment_condition(dialect, where))


def _queues(filters: Filters) -> Iterable[Select[Any]]:
    """Yield the ids of the queues that a filter takes, and of those in the pools that one takes."""
    if filters.work_queues is not None:
        yield select(work_queue.c.id).where(work_queue_condition(filters.work_queues))
    if filters.work_pools is not None:
        pools = select(work_pool.c.id).where(work_pool_condition(filters.work_pools))
        yield select(work_queue.c.id).where(work_queue.c.work_pool_id.in_(pools))


def named_flow_runs(filters: Filters) -> list[UUID] | None:
    """Return the flow runs that filters name, if they say nothing else."""
    where = filters.flow_runs
    if where is None or filters != Filters(flow_runs=where) or not says_only(where, "id"):
        return None
    return where.id.any_ if where.id is not None and where.id.not_any_ is None else None


def says_only(where: FlowRunFilter | TaskRunFilter | None, *names: str) -> bool:
    """Say whether a filter says nothing but of some fields."""
    return where is None or where.model_dump(exclude={"operator", *names}, exclude_none=True) == {}
