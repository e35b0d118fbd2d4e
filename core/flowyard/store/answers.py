"""Rows of runs and states as the REST API has them.

Nothing is validated: columns hold what they hold, and a list has 200 rows. Made this way a flow run takes 15
microseconds, and 60 with `model_construct`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy.engine import Row

from flowyard.rules.bookkeeping import estimated_run_time, estimated_start_time_delta
from flowyard.schemas.api.base import CreatedBy
from flowyard.schemas.api.flow_runs import FlowRunPolicy, FlowRunResponse
from flowyard.schemas.api.states import State, StateDetails
from flowyard.schemas.api.task_runs import Constant, Parameter, TaskInput, TaskRun, TaskRunPolicy, TaskRunResult
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import StateType
from flowyard.store.flow_runs import Origin, policy_record
from flowyard.store.rows import STATE_PREFIX

_TYPES = {kind.value: kind for kind in StateType}
_NO_DETAILS = dict(StateDetails())
_NO_FLOW_RUN_RETRIES, _NO_TASK_RUN_RETRIES = dict(FlowRunPolicy()), dict(TaskRunPolicy())


class Pool(NamedTuple):
    """The work pool of a queue."""

    id: UUID
    name: str


def flow_run_answer(row: Row[Any], *, pools: Mapping[UUID, Pool], now: datetime) -> FlowRunResponse:
    """Return the flow run in a row that is joined with its state.

    Args:
        row: the columns of the run, and those of the state that the run has not, under the names of `store.rows`.
        pools: the work pools of the queues of runs.
        now: the present time, for what is still running or late.
    """
    # `_fields` is public in SQLAlchemy, and `_asdict` takes twice the time.
    values: dict[str, Any] = dict(zip(row._fields, row, strict=True))  # pyright: ignore[reportPrivateUsage]
    state = values["state"] = _current(values, flow_run_id=values["id"], task_run_id=values["parent_task_run_id"])
    values["state_type"] = None if state is None else state.type
    pool = pools.get(values["work_queue_id"])
    values["work_pool_id"], values["work_pool_name"] = (None, None) if pool is None else pool
    values["auto_scheduled"] = bool(values["auto_scheduled"])
    if values["created_by"] is not None:
        values["created_by"] = CreatedBy.model_validate(values["created_by"])
    values["empirical_policy"] = flow_run_policy(values["empirical_policy"])
    return FlowRunResponse.trusted(_timed(values, now))


def made_flow_run(run: FlowRun, origin: Origin, state: State) -> FlowRunResponse:
    """Return a flow run that was made a moment ago, as `flow_run_answer` returns it when it is read again.

    Only for one without a work queue: its pool would have to be looked up.
    """
    names = FlowRunResponse.model_fields
    values: dict[str, Any] = {name: getattr(run, name) for name in FlowRun.__slots__ if name in names}
    values.update((name, getattr(origin, name)) for name in Origin.__slots__)
    created_by = origin.created_by
    values.update(
        state=state,
        state_id=state.id,
        state_type=state.type,
        state_name=state.name,
        created_by=None if created_by is None else CreatedBy.model_validate(created_by),
        work_pool_id=None,
        work_pool_name=None,
        empirical_policy=flow_run_policy(policy_record(run)),
    )
    return FlowRunResponse.trusted(_timed(values, state.timestamp))


def flow_run_policy(record: dict[str, Any]) -> FlowRunPolicy:
    """Return what is stored of a flow run's retries and pauses, as the API has it."""
    delay = record.get("retry_delay")
    return FlowRunPolicy.trusted(
        {
            **_NO_FLOW_RUN_RETRIES,
            # None, not 0: where a run of a deployment says nothing, Prefect 2's engine takes what the flow says.
            "retries": record.get("retries") or None,
            # The API has one delay for flow runs.
            "retry_delay": delay[0] if isinstance(delay, list) else delay,
            "pause_keys": record.get("pause_keys") or [],
            "resuming": bool(record.get("resuming")),
            "retry_type": record.get("retry_type"),
        }
    )


def task_run_answer(row: Row[Any], *, now: datetime) -> TaskRun:
    """Return the task run in a row that is joined with its state; `now` is for what is still running or late."""
    # `_fields` is public in SQLAlchemy, and `_asdict` takes twice the time.
    values: dict[str, Any] = dict(zip(row._fields, row, strict=True))  # pyright: ignore[reportPrivateUsage]
    state = values["state"] = _current(values, flow_run_id=values["flow_run_id"], task_run_id=values["id"])
    values["state_type"] = None if state is None else state.type
    values["updated"] = values["updated"] or values["created"]
    values["empirical_policy"] = task_run_policy(values["empirical_policy"])
    values["task_inputs"] = task_inputs(values["task_inputs"])
    return TaskRun.trusted(_timed(values, now))


def task_run_policy(record: dict[str, Any]) -> TaskRunPolicy:
    """Return what is stored of a task run's retries, as the API has it."""
    return TaskRunPolicy.trusted(
        {
            **_NO_TASK_RUN_RETRIES,
            "retries": record.get("retries"),
            "retry_delay": record.get("retry_delay"),
            "retry_jitter_factor": record.get("retry_jitter_factor"),
        }
    )


def task_inputs(record: dict[str, list[dict[str, Any]]]) -> dict[str, list[TaskInput]]:
    """Return what is stored of a task run's inputs, as the API has them."""
    return {name: [_input(one) for one in some] for name, some in record.items()}


class _Times(NamedTuple):
    """What `rules.bookkeeping` needs of a run to tell how long it ran and how late it was."""

    state: _SinceWhen | None
    expected_start_time: datetime | None
    start_time: datetime | None
    total_run_time: timedelta


class _SinceWhen(NamedTuple):
    type: StateType
    timestamp: datetime


def _timed(values: dict[str, Any], now: datetime) -> dict[str, Any]:
    """Add how long a run ran and how late it was."""
    total = values["total_run_time"]
    times = _Times(values["state"], values["expected_start_time"], values["start_time"], total)
    values["estimated_run_time"] = estimated_run_time(times, now)
    values["estimated_start_time_delta"] = estimated_start_time_delta(times, now)
    return values


def _input(record: dict[str, Any]) -> TaskInput:
    kind = record.get("input_type")
    if kind == "constant":
        return Constant.model_construct(type=record.get("type"))
    if kind == "parameter":
        return Parameter.model_construct(name=record.get("name"))
    return TaskRunResult.trusted({"input_type": "task_run", "id": UUID(record["id"])})


def state_answer(row: Row[Any], *, flow_run_id: UUID | None, task_run_id: UUID | None) -> State:
    """Return the state in a row that has the columns of a state table."""
    return State.trusted(
        {
            "id": row.id,
            "type": _TYPES[row.type],
            "name": row.name,
            "timestamp": row.timestamp,
            "message": row.message,
            "data": row.data,
            "state_details": _details(row.state_details, flow_run_id, task_run_id),
        }
    )


def _current(values: dict[str, Any], *, flow_run_id: UUID | None, task_run_id: UUID | None) -> State | None:
    """Return the state of a run, and take what belongs to the state alone out of the values of the run."""
    take = values.pop
    timestamp = take("state_timestamp")
    message, data = take(f"{STATE_PREFIX}message"), take(f"{STATE_PREFIX}data")
    details = take(f"{STATE_PREFIX}state_details")
    if values["state_id"] is None:
        return None
    return State.trusted(
        {
            "id": values["state_id"],
            "type": _TYPES[values["state_type"]],
            "name": values["state_name"],
            "timestamp": timestamp,
            "message": message,
            "data": data,
            "state_details": _details(details, flow_run_id, task_run_id),
        }
    )


def _details(record: dict[str, Any] | None, flow_run_id: UUID | None, task_run_id: UUID | None) -> StateDetails:
    ids = {"flow_run_id": flow_run_id, "task_run_id": task_run_id}
    return StateDetails.model_validate({**record, **ids}) if record else StateDetails.trusted({**_NO_DETAILS, **ids})
