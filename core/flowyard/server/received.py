"""What clients send about runs and states, as the rules and the store have it, and states as clients get them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from fastapi import HTTPException, status

from flowyard.schemas.api import states as api
from flowyard.schemas.api.flow_runs import FlowRunCreate, FlowRunPolicy
from flowyard.schemas.api.task_runs import TaskRunCreate, TaskRunPolicy
from flowyard.schemas.ids import new_id
from flowyard.schemas.names import random_name
from flowyard.schemas.orchestration import OrchestrationResult, Verdict
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.store.states import result_of, result_record

# 30 years; the end of a longer one may be after the last time there is.
_LONGEST_DELAY_SECONDS = 1_000_000_000
_DETAILS = tuple(api.StateDetails.model_fields)
_KEY_HASH = re.compile(r"-[0-9a-f]{8}\Z")


def state_of(body: api.StateCreate | None, *, default: StateType = StateType.PENDING) -> State[Any]:
    """Return the state that a client proposes. Its id and its time are the server's: clocks differ."""
    if body is None:
        return State(default)
    sent = body.state_details
    details = StateDetails(**{name: getattr(sent, name) for name in sent.model_fields_set}) if sent else None
    return State(body.type, body.name, body.message, result_of(body.data), details)


def flow_run_of(body: FlowRunCreate) -> FlowRun:
    """Return the flow run that a client makes, without a state."""
    policy = body.empirical_policy
    return FlowRun(
        body.flow_id,
        body.name or random_name(),
        flow_version=body.flow_version,
        parameters=body.parameters,
        context=body.context,
        tags=body.tags,
        policy=policy_of(policy),
        pause_keys=frozenset(map(str, policy.pause_keys or ())),
        resuming=bool(policy.resuming),
        retry_type=policy.retry_type,
        parent_task_run_id=body.parent_task_run_id,
        deployment_id=body.deployment_id,
        idempotency_key=body.idempotency_key,
    )


def task_run_of(body: TaskRunCreate) -> TaskRun:
    """Return the task run that a client makes, without a state."""
    name = body.name or random_name()
    return TaskRun(
        body.task_key,
        body.dynamic_key,
        name,
        _task_name(name, body.task_key, body.dynamic_key),
        body.flow_run_id,
        id=body.id or new_id(),
        task_version=body.task_version,
        tags=tuple(body.tags),
        policy=policy_of(body.empirical_policy),
        task_inputs={
            parameter: [one.model_dump(mode="json") for one in inputs] for parameter, inputs in body.task_inputs.items()
        },
        cache_key=body.cache_key,
        cache_expiration=body.cache_expiration,
    )


def _task_name(name: str, task_key: str, dynamic_key: str) -> str:
    """Return the name of the task, which clients of Prefect 2 do not send: their runs are called name-0, name-1."""
    own, dash, number = name.rpartition("-")
    if dash and number in (dynamic_key, dynamic_key[:8]):
        return own
    return _KEY_HASH.sub("", task_key)


def policy_of(body: FlowRunPolicy | TaskRunPolicy) -> RetryPolicy:
    """Return a retry policy; the fields that Prefect 2 has given up count where the new ones are not set."""
    delay = body.retry_delay if body.retry_delay is not None else body.retry_delay_seconds or None
    if delay is None:
        delays: Sequence[float] = ()
    else:
        delays = delay if isinstance(delay, list) else (delay,)
    if not all(abs(delay) <= _LONGEST_DELAY_SECONDS for delay in delays):  # nor is NaN
        detail = f"retry_delay: {delays} has a delay that is no number, or longer than {_LONGEST_DELAY_SECONDS} seconds"
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, detail)
    return RetryPolicy(
        retries=body.retries if body.retries is not None else body.max_retries,
        delays=tuple(map(float, delays)),
        jitter_factor=body.retry_jitter_factor if isinstance(body, TaskRunPolicy) else None,
    )


def answer_of(result: OrchestrationResult) -> api.OrchestrationResult:
    """Return the answer to a proposed state."""
    details: api.StateAcceptDetails | api.StateWaitDetails | api.StateRejectDetails | api.StateAbortDetails
    if result.status is Verdict.ACCEPT:
        details = api.StateAcceptDetails()
    elif result.status is Verdict.WAIT:
        # Whole seconds, and never too early: a client that asks too early is only told to wait again.
        details = api.StateWaitDetails(delay_seconds=math.ceil(result.delay_seconds), reason=result.reason)
    elif result.status is Verdict.REJECT:
        details = api.StateRejectDetails(reason=result.reason)
    else:
        details = api.StateAbortDetails(reason=result.reason)
    state = None if result.state is None else sent_state(result.state)
    return api.OrchestrationResult(state=state, status=api.SetStateStatus(result.status.value), details=details)


def sent_state(state: State[Any]) -> api.State:
    """Return a state as clients get it."""
    details = state.state_details
    return api.State.trusted(
        {
            "id": state.id,
            "type": state.type,
            "name": state.name,
            "timestamp": state.timestamp,
            "message": state.message,
            "data": result_record(state.data),
            "state_details": api.StateDetails.trusted({name: getattr(details, name) for name in _DETAILS}),
        }
    )
