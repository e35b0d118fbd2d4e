"""What the web dashboard of Prefect 2 asks about runs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, HTTPException, Response, status

from flowyard.schemas.api.base import Operator
from flowyard.schemas.api.charts import CountByState, SimpleFlowRun, TaskRunCount
from flowyard.schemas.api.deployments import DeploymentFilter
from flowyard.schemas.api.filters import FlowFilter, FlowRunFilter, TaskRunFilter
from flowyard.schemas.api.sorting import FlowRunSort
from flowyard.schemas.api.work_pools import WorkPoolFilter, WorkQueueFilter
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, Offset
from flowyard.server.filters import FlowsFiltered, TaskRunsFiltered
from flowyard.server.routes import Routes
from flowyard.store import histories, served_flow_runs
from flowyard.store.filtering.related import Filters
from flowyard.store.ordering import Page

flow_runs = Routes(prefix="/ui/flow_runs", tags=["Flow Runs", "UI"])
task_runs = Routes(prefix="/ui/task_runs", tags=["Task Runs", "UI"])


@flow_runs.post("/history", operation_id="read_flow_run_history", response_model=list[SimpleFlowRun])
def read_history(
    filters: FlowsFiltered,
    database: Database,
    sort: Annotated[FlowRunSort, Body()] = FlowRunSort.EXPECTED_START_TIME_DESC,
    limit: Annotated[int, Body(ge=0, le=1000)] = 1000,
    offset: Offset = 0,
    after: Annotated[UUID | None, Body()] = None,
) -> Response:
    """Return flow runs as points of a chart."""
    now = utcnow()
    found = database.read(
        lambda connection: served_flow_runs.read_points(
            connection, database.dialect, filters, Page(limit, offset, after), sort=sort, now=now
        )
    )
    return answers.written(found)


@task_runs.post("/dashboard/counts", operation_id="read_dashboard_task_run_counts", response_model=list[TaskRunCount])
def read_dashboard_counts(
    task_runs: Annotated[TaskRunFilter, Body()],
    database: Database,
    flows: Annotated[FlowFilter | None, Body()] = None,
    flow_runs: Annotated[FlowRunFilter | None, Body()] = None,
    deployments: Annotated[DeploymentFilter | None, Body()] = None,
    work_pools: Annotated[WorkPoolFilter | None, Body()] = None,
    work_queues: Annotated[WorkQueueFilter | None, Body()] = None,
) -> Response:
    """Return how many task runs completed and failed in each twentieth of the time since `start_time.after_`."""
    started = task_runs.start_time
    if started is None or started.after_ is None:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, "task_runs.start_time.after_ is required")
    if task_runs.operator is Operator.and_ and started.is_null_ is None:
        # The period says it; to compare 100,000 times twice takes 5 milliseconds.
        task_runs = task_runs.model_copy(update={"start_time": None})
    filters = Filters(
        flows=flows,
        flow_runs=flow_runs,
        task_runs=task_runs,
        deployments=deployments,
        work_pools=work_pools,
        work_queues=work_queues,
    )
    after, before = started.after_, started.before_ or utcnow()
    found = database.read(
        lambda connection: histories.dashboard_counts(connection, database.dialect, filters, after=after, before=before)
    )
    return answers.many(TaskRunCount, found)


@task_runs.post("/count", operation_id="read_task_run_counts_by_state", response_model=CountByState)
def count_by_state(filters: TaskRunsFiltered, database: Database) -> Response:
    """Return how many task runs there are in states of each type."""
    return answers.one(
        database.read(lambda connection: histories.count_task_runs_by_type(connection, database.dialect, filters))
    )
