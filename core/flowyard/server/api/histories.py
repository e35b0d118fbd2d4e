"""Runs counted, over time and in all."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import Body, HTTPException, Response, status

from flowyard.schemas.api.base import DateTime
from flowyard.schemas.api.charts import HistoryResponse, StateCount, TaskCount
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database
from flowyard.server.filters import FlowRunHistoryFiltered, FlowRunsFiltered, TaskRunsFiltered
from flowyard.server.gateway import Gateway
from flowyard.server.routes import Routes
from flowyard.store import histories
from flowyard.store.filtering.related import Filters

flow_runs = Routes(prefix="/flow_runs", tags=["Flow Runs"])
task_runs = Routes(prefix="/task_runs", tags=["Task Runs"])
_MOST_INTERVALS = 5_000

Start = Annotated[DateTime, Body()]
End = Annotated[DateTime, Body()]
Interval = Annotated[float, Body(json_schema_extra={"format": "time-delta"}, ge=1, le=1e9)]
"""Seconds: at least one, and at most 30 years."""


@flow_runs.post("/history", operation_id="flow_run_history", response_model=list[HistoryResponse])
def read_flow_run_history(
    filters: FlowRunHistoryFiltered,
    history_start: Start,
    history_end: End,
    history_interval_seconds: Interval,
    database: Database,
) -> Response:
    """Return how many flow runs were expected to start in each interval, by the state they are in."""
    return _history(database, histories.flow_run_history, filters, history_start, history_end, history_interval_seconds)


@task_runs.post("/history", operation_id="task_run_history", response_model=list[HistoryResponse])
def read_task_run_history(
    filters: TaskRunsFiltered,
    history_start: Start,
    history_end: End,
    history_interval_seconds: Interval,
    database: Database,
) -> Response:
    """Return how many task runs were expected to start in each interval, by the state they are in."""
    return _history(database, histories.task_run_history, filters, history_start, history_end, history_interval_seconds)


def _history(
    database: Gateway,
    read: Callable[..., list[HistoryResponse]],
    filters: Filters,
    start: datetime,
    end: datetime,
    seconds: float,
) -> Response:
    step = timedelta(seconds=seconds)
    bins = max(math.ceil((end - start) / step), 0)
    if bins > _MOST_INTERVALS:
        detail = f"The period has {bins} intervals; at most {_MOST_INTERVALS} are counted: take longer ones"
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, detail)
    now = utcnow()
    found = database.read(
        lambda connection: read(connection, database.dialect, filters, start=start, step=step, bins=bins, now=now)
    )
    return answers.many(HistoryResponse, found)


@flow_runs.post("/lateness", operation_id="average_flow_run_lateness")
def read_lateness(filters: FlowRunsFiltered, database: Database) -> float | None:
    """Return how many seconds later than expected flow runs started on average; null when there are none."""
    now = utcnow()
    return database.read(lambda connection: histories.average_lateness(connection, database.dialect, filters, now=now))


@flow_runs.post("/count-by-state", operation_id="count_flow_runs_by_state", response_model=list[StateCount])
def count_by_state(filters: FlowRunsFiltered, database: Database) -> Response:
    """Return how many flow runs there are in each state; not a route of Prefect 2."""
    found = database.read(lambda connection: histories.count_flow_runs_by_state(connection, database.dialect, filters))
    return answers.many(StateCount, found)


@task_runs.post("/count-by-task", operation_id="count_task_runs_by_task", response_model=list[TaskCount])
def count_by_task(flow_run_id: Annotated[UUID, Body(embed=True)], database: Database) -> Response:
    """Return how many task runs of a flow run there are by task and state; not a route of Prefect 2."""
    found = database.read(lambda connection: histories.count_task_runs_by_task(connection, flow_run_id))
    return answers.many(TaskCount, found)
