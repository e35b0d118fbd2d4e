"""Deployments, as the REST API has them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, CreatedBy, DateTime, Model, Operator, UpdatedBy
from flowyard.schemas.api.criteria import AnyId, AnyText, AnyTextOrLike, HasTags, IsTrue
from flowyard.schemas.api.flow_runs import FlowRunPolicy
from flowyard.schemas.api.names import Name
from flowyard.schemas.api.schedules import CronSchedule, IntervalSchedule, RRuleSchedule
from flowyard.schemas.api.states import StateCreate
from flowyard.schemas.ids import new_id

MostRuns = Annotated[int, Field(ge=1, le=2**31 - 1)]
"""A number of runs of one schedule."""


class DeploymentStatus(StrEnum):
    """Whether somebody asks for the runs of a deployment: READY if the last poll is less than a minute ago."""

    READY = "READY"
    NOT_READY = "NOT_READY"


class DeploymentFilterId(AnyId):
    """Deployments by their id."""


class DeploymentFilterIsScheduleActive(IsTrue):
    """Deployments whose schedules are followed, or not: the opposite of `paused`."""


class DeploymentFilterName(AnyTextOrLike):
    """Deployments by their name."""


class DeploymentFilterPaused(IsTrue):
    """Deployments that are paused, or not."""


class DeploymentFilterTags(HasTags):
    """Deployments by their tags."""


class DeploymentFilterWorkQueueName(AnyText):
    """Deployments by the name of their work queue."""


class DeploymentFilter(Body):
    """Which deployments to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: DeploymentFilterId | None = None
    name: DeploymentFilterName | None = None
    paused: DeploymentFilterPaused | None = None
    is_schedule_active: DeploymentFilterIsScheduleActive | None = None
    tags: DeploymentFilterTags | None = None
    work_queue_name: DeploymentFilterWorkQueueName | None = None


class DeploymentFlowRunCreate(Body):
    """What creates a flow run of a deployment; what is not said here is taken from the deployment.

    Without a state the run is scheduled for now.
    """

    state: StateCreate | None = None
    name: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Put over those of the deployment; may hold placeholders (`__prefect_kind`)."""
    enforce_parameter_schema: bool | None = None
    context: dict[str, Any] = Field(default_factory=dict[str, Any])
    infrastructure_document_id: UUID | None = None
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: list[str] = Field(default_factory=list[str])
    idempotency_key: str | None = None
    parent_task_run_id: UUID | None = None
    work_queue_name: str | None = None
    job_variables: dict[str, Any] | None = None


class DeploymentSchedule(Model):
    """A schedule of a deployment, which may have several."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    deployment_id: UUID | None = None
    schedule: IntervalSchedule | CronSchedule | RRuleSchedule
    active: bool = True
    max_active_runs: int | None = None
    max_scheduled_runs: int | None = None
    catchup: bool = False


class DeploymentResponse(Model):
    """What is needed to run a flow somewhere else, whenever it is asked for or its schedules say so."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    infra_overrides: dict[str, Any] | None = None
    name: str
    version: str | None = None
    description: str | None = None
    flow_id: UUID
    schedule: IntervalSchedule | CronSchedule | RRuleSchedule | None = None
    """The schedule of a deployment that has exactly one."""
    is_schedule_active: bool = True
    """The opposite of `paused`."""
    paused: bool = False
    """Its schedules are not followed."""
    schedules: list[DeploymentSchedule] = Field(default_factory=list[DeploymentSchedule])
    job_variables: dict[str, Any] = Field(default_factory=dict[str, Any])
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    tags: list[str] = Field(default_factory=list[str])
    work_queue_name: str | None = None
    last_polled: DateTime | None = None
    parameter_openapi_schema: dict[str, Any] | None = None
    path: str | None = None
    pull_steps: list[dict[str, Any]] | None = None
    entrypoint: str | None = None
    manifest_path: str | None = None
    storage_document_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    created_by: CreatedBy | None = None
    updated_by: UpdatedBy | None = None
    work_pool_name: str | None = None
    status: DeploymentStatus | None = DeploymentStatus.NOT_READY
    enforce_parameter_schema: bool = False


class DeploymentScheduleCreate(Body):
    """What creates a schedule of a deployment."""

    active: bool = True
    schedule: IntervalSchedule | CronSchedule | RRuleSchedule
    max_active_runs: MostRuns | None = None
    max_scheduled_runs: MostRuns | None = None
    catchup: bool = False


class DeploymentCreate(Body):
    """What creates a deployment, or changes the one of that flow and name.

    `schedule`, `is_schedule_active` and `infra_overrides` are from before `schedules`, `paused` and `job_variables`;
    they count where the others are not given.
    """

    infra_overrides: dict[str, Any] | None = None
    name: Name
    flow_id: UUID
    is_schedule_active: bool = True
    paused: bool = False
    schedules: list[DeploymentScheduleCreate] = Field(default_factory=list[DeploymentScheduleCreate])
    enforce_parameter_schema: bool = False
    parameter_openapi_schema: dict[str, Any] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    tags: list[str] = Field(default_factory=list[str])
    pull_steps: list[dict[str, Any]] | None = None
    manifest_path: str | None = None
    work_queue_name: str | None = None
    work_pool_name: str | None = None
    storage_document_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    schedule: IntervalSchedule | CronSchedule | RRuleSchedule | None = None
    description: str | None = None
    path: str | None = None
    version: str | None = None
    entrypoint: str | None = None
    job_variables: dict[str, Any] = Field(default_factory=dict[str, Any])


class DeploymentScheduleUpdate(Body):
    """What can be changed of a schedule; a field that is left out stays."""

    active: bool | None = None
    schedule: IntervalSchedule | CronSchedule | RRuleSchedule | None = None
    max_active_runs: MostRuns | None = None
    max_scheduled_runs: MostRuns | None = None
    catchup: bool | None = None


class DeploymentUpdate(Body):
    """What can be changed of a deployment; a field that is left out stays."""

    infra_overrides: dict[str, Any] | None = None
    version: str | None = None
    schedule: IntervalSchedule | CronSchedule | RRuleSchedule | None = None
    description: str | None = None
    is_schedule_active: bool = True
    paused: bool = False
    schedules: list[DeploymentScheduleCreate] = Field(default_factory=list[DeploymentScheduleCreate])
    parameters: dict[str, Any] | None = None
    tags: list[str] = Field(default_factory=list[str])
    work_queue_name: str | None = None
    work_pool_name: str | None = None
    path: str | None = None
    job_variables: dict[str, Any] | None = None
    entrypoint: str | None = None
    manifest_path: str | None = None
    storage_document_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    enforce_parameter_schema: bool | None = None
