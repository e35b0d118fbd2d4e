"""States, as the REST API has them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import StateType


class SetStateStatus(StrEnum):
    """A set state status."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    ABORT = "ABORT"
    WAIT = "WAIT"


class StateAbortDetails(Model):
    """A state abort details."""

    type: Literal["abort_details"] = "abort_details"
    reason: str | None = None


class StateAcceptDetails(Model):
    """A state accept details."""

    type: Literal["accept_details"] = "accept_details"


class StateDetails(Model):
    """A state details."""

    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    child_flow_run_id: UUID | None = None
    scheduled_time: DateTime | None = None
    cache_key: str | None = None
    cache_expiration: DateTime | None = None
    untrackable_result: bool = False
    pause_timeout: DateTime | None = None
    pause_reschedule: bool = False
    pause_key: str | None = None
    run_input_keyset: dict[str, str] | None = None
    refresh_cache: bool | None = None
    retriable: bool | None = None
    transition_id: UUID | None = None
    task_parameters_id: UUID | None = None


class State(Model):
    """A state."""

    id: UUID = Field(default_factory=new_id)
    type: StateType
    name: str | None = None
    timestamp: DateTime
    message: str | None = None
    data: Any = None
    state_details: StateDetails = Field(default_factory=StateDetails)


class StateCreate(Body):
    """What creates a state."""

    type: StateType
    name: str | None = None
    message: str | None = None
    data: Any = None
    state_details: StateDetails = Field(default_factory=StateDetails)
    timestamp: DateTime | None = None
    id: UUID | None = None


class StateRejectDetails(Model):
    """A state reject details."""

    type: Literal["reject_details"] = "reject_details"
    reason: str | None = None


class StateWaitDetails(Model):
    """A state wait details."""

    type: Literal["wait_details"] = "wait_details"
    delay_seconds: int
    reason: str | None = None


class OrchestrationResult(Model):
    """An orchestration result."""

    state: State | None = None
    status: SetStateStatus
    details: StateAcceptDetails | StateWaitDetails | StateRejectDetails | StateAbortDetails
