"""Filters, as the REST API has them."""

from __future__ import annotations

from uuid import UUID

from flowyard.schemas.api.base import Body, DateTime, Operator
from flowyard.schemas.states import StateType


class FlowFilterDeployment(Body):
    """Flows by their deployment."""

    operator: Operator = Operator.and_
    is_null_: bool | None = None


class FlowFilterId(Body):
    """Flows by their id."""

    any_: list[UUID] | None = None


class FlowFilterName(Body):
    """Flows by their name."""

    any_: list[str] | None = None
    like_: str | None = None


class FlowFilterTags(Body):
    """Flows by their tags."""

    operator: Operator = Operator.and_
    all_: list[str] | None = None
    is_null_: bool | None = None


class FlowFilter(Body):
    """Which flows to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: FlowFilterId | None = None
    deployment: FlowFilterDeployment | None = None
    name: FlowFilterName | None = None
    tags: FlowFilterTags | None = None


class FlowRunFilterDeploymentId(Body):
    """Flow runs by their deployment id."""

    operator: Operator = Operator.and_
    any_: list[UUID] | None = None
    is_null_: bool | None = None


class FlowRunFilterExpectedStartTime(Body):
    """Flow runs by their expected start time."""

    before_: DateTime | None = None
    after_: DateTime | None = None


class FlowRunFilterFlowVersion(Body):
    """Flow runs by their flow version."""

    any_: list[str] | None = None


class FlowRunFilterId(Body):
    """Flow runs by their id."""

    any_: list[UUID] | None = None
    not_any_: list[UUID] | None = None


class FlowRunFilterIdempotencyKey(Body):
    """Flow runs by their idempotency key."""

    any_: list[str] | None = None
    not_any_: list[str] | None = None


class FlowRunFilterName(Body):
    """Flow runs by their name."""

    any_: list[str] | None = None
    like_: str | None = None


class FlowRunFilterNextScheduledStartTime(Body):
    """Flow runs by their next scheduled start time."""

    before_: DateTime | None = None
    after_: DateTime | None = None


class FlowRunFilterParentFlowRunId(Body):
    """Flow runs by their parent flow run id."""

    operator: Operator = Operator.and_
    any_: list[UUID] | None = None


class FlowRunFilterParentTaskRunId(Body):
    """Flow runs by their parent task run id."""

    operator: Operator = Operator.and_
    any_: list[UUID] | None = None
    is_null_: bool | None = None


class FlowRunFilterStartTime(Body):
    """Flow runs by their start time."""

    before_: DateTime | None = None
    after_: DateTime | None = None
    is_null_: bool | None = None


class FlowRunFilterStateName(Body):
    """Flow runs by their state name."""

    any_: list[str] | None = None


class FlowRunFilterStateType(Body):
    """Flow runs by their state type."""

    any_: list[StateType] | None = None


class FlowRunFilterState(Body):
    """Flow runs by their state."""

    operator: Operator = Operator.and_
    type: FlowRunFilterStateType | None = None
    name: FlowRunFilterStateName | None = None


class FlowRunFilterTags(Body):
    """Flow runs by their tags."""

    operator: Operator = Operator.and_
    all_: list[str] | None = None
    is_null_: bool | None = None


class FlowRunFilterWorkQueueName(Body):
    """Flow runs by their work queue name."""

    operator: Operator = Operator.and_
    any_: list[str] | None = None
    is_null_: bool | None = None


class FlowRunFilter(Body):
    """Which flow runs to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: FlowRunFilterId | None = None
    name: FlowRunFilterName | None = None
    tags: FlowRunFilterTags | None = None
    deployment_id: FlowRunFilterDeploymentId | None = None
    work_queue_name: FlowRunFilterWorkQueueName | None = None
    state: FlowRunFilterState | None = None
    flow_version: FlowRunFilterFlowVersion | None = None
    start_time: FlowRunFilterStartTime | None = None
    expected_start_time: FlowRunFilterExpectedStartTime | None = None
    next_scheduled_start_time: FlowRunFilterNextScheduledStartTime | None = None
    parent_flow_run_id: FlowRunFilterParentFlowRunId | None = None
    parent_task_run_id: FlowRunFilterParentTaskRunId | None = None
    idempotency_key: FlowRunFilterIdempotencyKey | None = None


class TaskRunFilterFlowRunId(Body):
    """Task runs by their flow run id."""

    operator: Operator = Operator.and_
    any_: list[UUID] | None = None
    is_null_: bool = False


class TaskRunFilterId(Body):
    """Task runs by their id."""

    any_: list[UUID] | None = None


class TaskRunFilterName(Body):
    """Task runs by their name."""

    any_: list[str] | None = None
    like_: str | None = None


class TaskRunFilterStartTime(Body):
    """Task runs by their start time."""

    before_: DateTime | None = None
    after_: DateTime | None = None
    is_null_: bool | None = None


class TaskRunFilterStateName(Body):
    """Task runs by their state name."""

    any_: list[str] | None = None


class TaskRunFilterStateType(Body):
    """Task runs by their state type."""

    any_: list[StateType] | None = None


class TaskRunFilterState(Body):
    """Task runs by their state."""

    operator: Operator = Operator.and_
    type: TaskRunFilterStateType | None = None
    name: TaskRunFilterStateName | None = None


class TaskRunFilterSubFlowRuns(Body):
    """Task runs by their sub flow runs."""

    exists_: bool | None = None


class TaskRunFilterTags(Body):
    """Task runs by their tags."""

    operator: Operator = Operator.and_
    all_: list[str] | None = None
    is_null_: bool | None = None


class TaskRunFilter(Body):
    """Which task runs to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: TaskRunFilterId | None = None
    name: TaskRunFilterName | None = None
    tags: TaskRunFilterTags | None = None
    state: TaskRunFilterState | None = None
    start_time: TaskRunFilterStartTime | None = None
    subflow_runs: TaskRunFilterSubFlowRuns | None = None
    flow_run_id: TaskRunFilterFlowRunId | None = None
