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
    """What became of a proposed state."""

    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    ABORT = "ABORT"
    WAIT = "WAIT"


class StateAbortDetails(Model):
    """Whoever proposed the state must stop."""

    type: Literal["abort_details"] = "abort_details"
    reason: str | None = None


class StateAcceptDetails(Model):
    """The run has entered the state."""

    type: Literal["accept_details"] = "accept_details"


class StateDetails(Model):
    """Facts about a state that rules and clients need; None means "not said"."""

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
    """What a run is doing, and since when."""

    id: UUID = Field(default_factory=new_id)
    type: StateType
    name: str | None = None
    timestamp: DateTime
    message: str | None = None
    data: Any = None
    state_details: StateDetails = Field(default_factory=StateDetails)


class StateCreate(Body):
    """A state that a client proposes; `id` and `timestamp` are the server's, whatever the client says."""

    type: StateType
    name: str | None = None
    message: str | None = None
    data: Any = None
    state_details: StateDetails = Field(default_factory=StateDetails)
    timestamp: DateTime | None = None
    id: UUID | None = None


class StateRejectDetails(Model):
    """The run is in another state: in the one it was in, or in one that the rules put in the place of the proposed."""

    type: Literal["reject_details"] = "reject_details"
    reason: str | None = None


class StateWaitDetails(Model):
    """The same state is to be proposed again after so many seconds."""

    type: Literal["wait_details"] = "wait_details"
    delay_seconds: int
    reason: str | None = None


class OrchestrationResult(Model):
    """The answer to a proposed state, and the state that the run is in now."""

    state: State | None = None
    status: SetStateStatus
    details: StateAcceptDetails | StateWaitDetails | StateRejectDetails | StateAbortDetails
