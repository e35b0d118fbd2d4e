"""Runs and answers with states as flows have them: `state.is_completed()` and `state.result()` work."""

from __future__ import annotations

from typing import Annotated, Any, cast
from uuid import UUID

from pydantic import PlainSerializer, PlainValidator

from flowyard.schemas.api import states as api
from flowyard.schemas.api.base import Model
from flowyard.schemas.api.flow_runs import FlowRunFields
from flowyard.schemas.api.task_runs import TaskRunFields
from flowyard.schemas.states import State, StateDetails
from flowyard.store.states import result_of, result_record


def state_of(value: Any) -> State[Any]:
    """Return the state in an answer; a state is returned as it is."""
    if isinstance(value, State):
        return cast("State[Any]", value)
    sent = api.State.model_validate(value)
    details = StateDetails(**{name: getattr(sent.state_details, name) for name in sent.state_details.model_fields_set})
    return State(sent.type, sent.name, sent.message, result_of(sent.data), details, sent.timestamp, sent.id)


def state_create(state: State[Any]) -> api.StateCreate:
    """Return what proposes a state."""
    set_details = {
        name: value
        for name in api.StateDetails.model_fields
        if (value := getattr(state.state_details, name)) not in (None, False)
    }
    return api.StateCreate(
        type=state.type,
        name=state.name,
        message=state.message,
        data=result_record(state.data),
        state_details=api.StateDetails(**set_details),
    )


def _as_sent(state: State[Any]) -> dict[str, Any]:
    details = state_create(state).state_details.model_dump(mode="json")
    return {
        "id": str(state.id),
        "type": state.type.value,
        "name": state.name,
        "timestamp": state.timestamp.isoformat(),
        "message": state.message,
        "data": result_record(state.data),
        "state_details": details,
    }


AnyState = Annotated[
    State[Any], PlainValidator(state_of), PlainSerializer(_as_sent, return_type=dict[str, Any], when_used="json")
]


class FlowRun(FlowRunFields):
    """A flow run."""

    state: AnyState | None = None
    work_pool_id: UUID | None = None
    work_pool_name: str | None = None


class TaskRun(TaskRunFields):
    """A task run."""

    state: AnyState | None = None


class OrchestrationResult(Model):
    """The answer to a proposed state, and the state that the run is in now."""

    state: AnyState | None = None
    status: api.SetStateStatus
    details: api.StateAcceptDetails | api.StateWaitDetails | api.StateRejectDetails | api.StateAbortDetails


class WorkerFlowRunResponse(Model):
    """A flow run that is handed out to a worker, and where it waited."""

    work_pool_id: UUID
    work_queue_id: UUID
    flow_run: FlowRun
