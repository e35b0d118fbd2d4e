"""Flow runs, as the REST API has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, CreatedBy, DateTime, Model, Seconds
from flowyard.schemas.api.states import State, StateCreate
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import StateType


class FlowRunInput(Model):
    """What was sent to a flow run under a key."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    flow_run_id: UUID
    key: str
    value: str
    sender: str | None = None


class FlowRunPolicy(Model):
    """When a flow run is tried again, and what is known of its pauses.

    `max_retries` and `retry_delay_seconds` are what `retries` and `retry_delay` were called before; they count where
    the others are not given.
    """

    max_retries: int = 0
    retry_delay_seconds: float = 0
    retries: int | None = None
    retry_delay: int | float | None = None
    """Seconds; a whole number from clients of Prefect 2."""
    pause_keys: list[Any] | None = None
    """The pauses that have fired already."""
    resuming: bool | None = False
    retry_type: Literal["in_process", "reschedule"] | None = None


class FlowRunFields(Model):
    """A flow run, but for the state that it is in: clients have another class for states than the server."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    flow_id: UUID
    state_id: UUID | None = None
    deployment_id: UUID | None = None
    deployment_version: str | None = None
    work_queue_name: str | None = None
    flow_version: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    idempotency_key: str | None = None
    context: dict[str, Any] = Field(default_factory=dict[str, Any])
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: list[str] = Field(default_factory=list[str])
    parent_task_run_id: UUID | None = None
    state_type: StateType | None = None
    state_name: str | None = None
    run_count: int = 0
    expected_start_time: DateTime | None = None
    next_scheduled_start_time: DateTime | None = None
    start_time: DateTime | None = None
    end_time: DateTime | None = None
    total_run_time: Seconds = timedelta(0)
    estimated_run_time: Seconds = timedelta(0)
    estimated_start_time_delta: Seconds = timedelta(0)
    auto_scheduled: bool = False
    infrastructure_document_id: UUID | None = None
    infrastructure_pid: str | None = None
    created_by: CreatedBy | None = None
    work_queue_id: UUID | None = None
    job_variables: dict[str, Any] | None = None


class FlowRun(FlowRunFields):
    """A flow run."""

    state: State | None = None


class FlowRunCreate(Body):
    """What creates a flow run."""

    state: StateCreate | None = None
    name: str | None = None
    flow_id: UUID
    flow_version: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    context: dict[str, Any] = Field(default_factory=dict[str, Any])
    parent_task_run_id: UUID | None = None
    infrastructure_document_id: UUID | None = None
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: list[str] = Field(default_factory=list[str])
    idempotency_key: str | None = None
    deployment_id: UUID | None = None


class FlowRunResponse(FlowRun):
    """A flow run, as the API answers: with the work pool that hands it out."""

    work_pool_id: UUID | None = None
    work_pool_name: str | None = None


class FlowRunUpdate(Body):
    """What can be changed of a flow run; a field that is left out stays."""

    name: str | None = None
    flow_version: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict[str, Any])
    empirical_policy: FlowRunPolicy = Field(default_factory=FlowRunPolicy)
    tags: list[str] = Field(default_factory=list[str])
    infrastructure_pid: str | None = None
    job_variables: dict[str, Any] | None = None
