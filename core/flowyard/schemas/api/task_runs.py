"""Task runs, as the REST API has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model, Seconds
from flowyard.schemas.api.states import State, StateCreate
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import StateType


class Constant(Model):
    """A value that no run made."""

    input_type: Literal["constant"] = "constant"
    type: str


class Parameter(Model):
    """A parameter of the flow."""

    input_type: Literal["parameter"] = "parameter"
    name: str


class TaskRunPolicy(Model):
    """When a task run is tried again.

    `max_retries` and `retry_delay_seconds` are what `retries` and `retry_delay` were called before; they count where
    the others are not given.
    """

    max_retries: int = 0
    retry_delay_seconds: float = 0
    retries: int | None = None
    retry_delay: int | float | list[int | float] | None = None
    """Seconds before each retry, or before all; whole numbers from clients of Prefect 2."""
    retry_jitter_factor: float | None = None


class TaskRunResult(Model):
    """The value of a task run."""

    input_type: Literal["task_run"] = "task_run"
    id: UUID


TaskInput = TaskRunResult | Parameter | Constant
"""What a parameter of a task run was bound to: a task run's value, a parameter of the flow, or a constant."""


class TaskRunFields(Model):
    """A task run, but for the state that it is in: clients have another class for states than the server."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    flow_run_id: UUID | None = None
    task_key: str
    dynamic_key: str
    cache_key: str | None = None
    cache_expiration: DateTime | None = None
    task_version: str | None = None
    empirical_policy: TaskRunPolicy = Field(default_factory=TaskRunPolicy)
    tags: list[str] = Field(default_factory=list[str])
    state_id: UUID | None = None
    task_inputs: dict[str, list[TaskInput]] = Field(default_factory=dict[str, list[TaskInput]])
    state_type: StateType | None = None
    state_name: str | None = None
    run_count: int = 0
    flow_run_run_count: int = 0
    expected_start_time: DateTime | None = None
    next_scheduled_start_time: DateTime | None = None
    start_time: DateTime | None = None
    end_time: DateTime | None = None
    total_run_time: Seconds = timedelta(0)
    estimated_run_time: Seconds = timedelta(0)
    estimated_start_time_delta: Seconds = timedelta(0)


class TaskRun(TaskRunFields):
    """A task run."""

    state: State | None = None


class TaskRunCreate(Body):
    """What creates a task run."""

    id: UUID | None = None
    state: StateCreate | None = None
    name: str | None = None
    flow_run_id: UUID | None = None
    task_key: str
    dynamic_key: str
    cache_key: str | None = None
    cache_expiration: DateTime | None = None
    task_version: str | None = None
    empirical_policy: TaskRunPolicy = Field(default_factory=TaskRunPolicy)
    tags: list[str] = Field(default_factory=list[str])
    task_inputs: dict[str, list[TaskInput]] = Field(default_factory=dict[str, list[TaskInput]])


class TaskRunUpdate(Body):
    """What can be changed of a task run; a field that is left out stays."""

    name: str | None = None
