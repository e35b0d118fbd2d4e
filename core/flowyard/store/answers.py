"""Rows of runs and states as the REST API has them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from flowyard.rules.bookkeeping import estimated_run_time, estimated_start_time_delta
from flowyard.schemas.api.base import CreatedBy
from flowyard.schemas.api.charts import SimpleFlowRun
from flowyard.schemas.api.flow_runs import FlowRunPolicy, FlowRunResponse
from flowyard.schemas.api.states import State, StateDetails
from flowyard.schemas.api.task_runs import Constant, Parameter, TaskInput, TaskRun, TaskRunPolicy, TaskRunResult
from flowyard.schemas.states import StateType
from flowyard.store.rows import STATE_PREFIX

if TYPE_CHECKING:
    from flowyard.store.states import AnyRow

_NO_TIME = timedelta(0)


class Pool(NamedTuple):
    """The work pool of a queue."""

    id: UUID
    name: str


def flow_run_answer(row: AnyRow, *, pools: Mapping[UUID, Pool], now: datetime) -> FlowRunResponse:
    """Return the flow run in a row that is joined with its state.

    Args:
        row: the columns of the run, and those of the state under the names that `store.rows` gives them.
        pools: the work pools of the queues of runs.
        now: the present time, for what is still running or late.
    """
    pool = pools.get(row.work_queue_id) if row.work_queue_id is not None else None
    record = row.empirical_policy
    # Not validated: the columns hold what they hold, and a list has 200 rows.
    run = FlowRunResponse.model_construct(
        id=row.id,
        created=row.created,
        updated=row.updated,
        name=row.name,
        flow_id=row.flow_id,
        state_id=row.state_id,
        deployment_id=row.deployment_id,
        deployment_version=row.deployment_version,
        work_queue_id=row.work_queue_id,
        work_queue_name=row.work_queue_name,
        flow_version=row.flow_version,
        parameters=row.parameters,
        idempotency_key=row.idempotency_key,
        context=row.context,
        empirical_policy=FlowRunPolicy.model_construct(
            retries=record.get("retries"),
            retry_delay=_first(record.get("retry_delay")),
            pause_keys=record.get("pause_keys") or [],
            resuming=bool(record.get("resuming")),
            retry_type=record.get("retry_type"),
        ),
        tags=row.tags,
        parent_task_run_id=row.parent_task_run_id,
        state_type=None if row.state_type is None else StateType(row.state_type),
        state_name=row.state_name,
        run_count=row.run_count,
        expected_start_time=row.expected_start_time,
        next_scheduled_start_time=row.next_scheduled_start_time,
        start_time=row.start_time,
        end_time=row.end_time,
        total_run_time=row.total_run_time,
        auto_scheduled=bool(row.auto_scheduled),
        infrastructure_document_id=row.infrastructure_document_id,
        infrastructure_pid=row.infrastructure_pid,
        created_by=None if row.created_by is None else CreatedBy.model_validate(row.created_by),
        work_pool_id=None if pool is None else pool.id,
        work_pool_name=None if pool is None else pool.name,
        state=_current(row, flow_run_id=row.id, task_run_id=row.parent_task_run_id),
        job_variables=row.job_variables,
    )
    run.estimated_run_time = estimated_run_time(run, now)
    run.estimated_start_time_delta = estimated_start_time_delta(run, now)
    return run


class _Point(NamedTuple):
    """What `rules.bookkeeping` needs of a run to tell how long it ran and how late it was."""

    state: _PointState
    expected_start_time: datetime | None
    start_time: datetime | None
    total_run_time: timedelta


class _PointState(NamedTuple):
    type: StateType
    timestamp: datetime


def flow_run_point(row: AnyRow, *, now: datetime) -> SimpleFlowRun:
    """Return the flow run in a row as a point of a chart; `now` is for what is still running or late."""
    kind = StateType(row.state_type)
    state = _PointState(kind, row.state_timestamp)
    run = _Point(state, row.expected_start_time, row.start_time, row.total_run_time)
    return SimpleFlowRun.model_construct(
        id=row.id,
        state_type=kind,
        timestamp=row.start_time or row.expected_start_time or row.state_timestamp,
        duration=estimated_run_time(run, now),
        lateness=estimated_start_time_delta(run, now),
    )


def task_run_answer(row: AnyRow, *, now: datetime) -> TaskRun:
    """Return the task run in a row that is joined with its state; `now` is for what is still running or late."""
    record = row.empirical_policy
    run = TaskRun.model_construct(
        id=row.id,
        created=row.created,
        updated=row.updated or row.created,
        name=row.name,
        flow_run_id=row.flow_run_id,
        task_key=row.task_key,
        dynamic_key=row.dynamic_key,
        cache_key=row.cache_key,
        cache_expiration=row.cache_expiration,
        task_version=row.task_version,
        empirical_policy=TaskRunPolicy.model_construct(
            retries=record.get("retries"),
            retry_delay=record.get("retry_delay"),
            retry_jitter_factor=record.get("retry_jitter_factor"),
        ),
        tags=row.tags,
        state_id=row.state_id,
        task_inputs={name: [_input(one) for one in inputs] for name, inputs in row.task_inputs.items()},
        state_type=None if row.state_type is None else StateType(row.state_type),
        state_name=row.state_name,
        run_count=row.run_count,
        flow_run_run_count=row.flow_run_run_count,
        expected_start_time=row.expected_start_time,
        next_scheduled_start_time=row.next_scheduled_start_time,
        start_time=row.start_time,
        end_time=row.end_time,
        total_run_time=row.total_run_time,
        state=_current(row, flow_run_id=row.flow_run_id, task_run_id=row.id),
    )
    run.estimated_run_time = estimated_run_time(run, now)
    run.estimated_start_time_delta = estimated_start_time_delta(run, now)
    return run


def _input(record: dict[str, Any]) -> TaskInput:
    kind = record.get("input_type")
    if kind == "constant":
        return Constant.model_construct(type=record.get("type"))
    if kind == "parameter":
        return Parameter.model_construct(name=record.get("name"))
    return TaskRunResult(id=UUID(record["id"]))


def state_answer(row: AnyRow, *, flow_run_id: UUID | None, task_run_id: UUID | None) -> State:
    """Return the state in a row that has the columns of a state table."""
    return State.model_construct(
        id=row.id,
        type=StateType(row.type),
        name=row.name,
        timestamp=row.timestamp,
        message=row.message,
        data=row.data,
        state_details=_details(row.state_details, flow_run_id, task_run_id),
    )


def _current(row: AnyRow, *, flow_run_id: UUID | None, task_run_id: UUID | None) -> State | None:
    state_id: UUID | None = getattr(row, f"{STATE_PREFIX}id")
    if state_id is None:
        return None
    return State.model_construct(
        id=state_id,
        type=StateType(row.state__type),
        name=row.state__name,
        timestamp=row.state__timestamp,
        message=row.state__message,
        data=row.state__data,
        state_details=_details(row.state__state_details, flow_run_id, task_run_id),
    )


def _details(record: dict[str, Any] | None, flow_run_id: UUID | None, task_run_id: UUID | None) -> StateDetails:
    if not record:
        return StateDetails.model_construct(flow_run_id=flow_run_id, task_run_id=task_run_id)
    return StateDetails.model_validate({**record, "flow_run_id": flow_run_id, "task_run_id": task_run_id})


def _first(delay: float | list[float] | None) -> float | None:
    """Return the delay before the first retry: the API has one for flow runs."""
    return delay[0] if isinstance(delay, list) else delay
