"""Filters, as the REST API has them."""

from __future__ import annotations

from uuid import UUID

from flowyard.schemas.api.base import Body, Operator
from flowyard.schemas.api.criteria import (
    AnyId,
    AnyIdButNot,
    AnyIdOrNull,
    AnyStateType,
    AnyText,
    AnyTextButNot,
    AnyTextOrLike,
    AnyTextOrNull,
    Between,
    BetweenOrNull,
    HasTags,
)


class FlowFilterDeployment(Body):
    """Flows by their deployment."""

    operator: Operator = Operator.and_
    is_null_: bool | None = None


class FlowFilterId(AnyId):
    """Flows by their id."""


class FlowFilterName(AnyTextOrLike):
    """Flows by their name."""


class FlowFilterTags(HasTags):
    """Flows by their tags."""


class FlowFilter(Body):
    """Which flows to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: FlowFilterId | None = None
    deployment: FlowFilterDeployment | None = None
    name: FlowFilterName | None = None
    tags: FlowFilterTags | None = None


class FlowRunFilterDeploymentId(AnyIdOrNull):
    """Flow runs by their deployment id."""


class FlowRunFilterExpectedStartTime(Between):
    """Flow runs by their expected start time."""


class FlowRunFilterFlowVersion(AnyText):
    """Flow runs by their flow version."""


class FlowRunFilterId(AnyIdButNot):
    """Flow runs by their id."""


class FlowRunFilterIdempotencyKey(AnyTextButNot):
    """Flow runs by their idempotency key."""


class FlowRunFilterName(AnyTextOrLike):
    """Flow runs by their name."""


class FlowRunFilterNextScheduledStartTime(Between):
    """Flow runs by their next scheduled start time."""


class FlowRunFilterParentFlowRunId(Body):
    """Flow runs by their parent flow run id."""

    operator: Operator = Operator.and_
    any_: list[UUID] | None = None


class FlowRunFilterParentTaskRunId(AnyIdOrNull):
    """Flow runs by their parent task run id."""


class FlowRunFilterStartTime(BetweenOrNull):
    """Flow runs by their start time."""


class FlowRunFilterStateName(AnyText):
    """Flow runs by their state name."""


class FlowRunFilterStateType(AnyStateType):
    """Flow runs by their state type."""


class FlowRunFilterState(Body):
    """Flow runs by their state."""

    operator: Operator = Operator.and_
    type: FlowRunFilterStateType | None = None
    name: FlowRunFilterStateName | None = None


class FlowRunFilterTags(HasTags):
    """Flow runs by their tags."""


class FlowRunFilterWorkQueueName(AnyTextOrNull):
    """Flow runs by their work queue name."""


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


class TaskRunFilterId(AnyId):
    """Task runs by their id."""


class TaskRunFilterName(AnyTextOrLike):
    """Task runs by their name."""


class TaskRunFilterStartTime(BetweenOrNull):
    """Task runs by their start time."""


class TaskRunFilterStateName(AnyText):
    """Task runs by their state name."""


class TaskRunFilterStateType(AnyStateType):
    """Task runs by their state type."""


class TaskRunFilterState(Body):
    """Task runs by their state."""

    operator: Operator = Operator.and_
    type: TaskRunFilterStateType | None = None
    name: TaskRunFilterStateName | None = None


class TaskRunFilterSubFlowRuns(Body):
    """Task runs by their sub flow runs."""

    exists_: bool | None = None


class TaskRunFilterTags(HasTags):
    """Task runs by their tags."""


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
