"""How a paused flow run goes on: with what it was given, if it asked for something."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import jsonschema

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.orchestration import OrchestrationResult, Verdict
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.services.orchestration import propose_flow_run_state
from flowyard.store import flow_run_inputs, flow_runs
from flowyard.store.plain import PlainConnection


def resume_flow_run(
    connection: PlainConnection, flow_run_id: UUID, run_input: Mapping[str, Any] | None, *, now: datetime
) -> OrchestrationResult:
    """Let a paused flow run go on, as a compare-and-set.

    A run that waits in its process becomes Running; a suspended one becomes Scheduled. What it asked for is checked
    against the JSON schema that it left, and stored where it looks.

    Raises:
        ObjectNotFound: there is no such flow run.
    """
    run = flow_runs.lock(connection, flow_run_id)
    state = run.state
    if state is None or not state.is_paused():
        reason = f"this run is {state.type if state else 'in no state'}, not paused"
        return OrchestrationResult(Verdict.ABORT, state, reason, 0.0)
    details = state.state_details
    keyset = details.run_input_keyset
    if keyset:
        problem = _problem_with(connection, flow_run_id, keyset["schema"], run_input)
        if problem is not None:
            return OrchestrationResult(Verdict.REJECT, state, problem, 0.0)
    if details.pause_reschedule:
        proposed: State[Any] = State(StateType.SCHEDULED, "Resuming", state_details=StateDetails(scheduled_time=now))
    else:
        proposed = State(StateType.RUNNING)
    _, result = propose_flow_run_state(connection, flow_run_id, proposed, lease=None, force=False, now=now)
    if keyset and result.status is Verdict.ACCEPT and run_input is not None:
        value = json.dumps(dict(run_input))
        flow_run_inputs.create(connection.core, flow_run_id, keyset["response"], value, sender=None, now=now)
    return result


def _problem_with(
    connection: PlainConnection, flow_run_id: UUID, schema_key: str, run_input: Mapping[str, Any] | None
) -> str | None:
    try:
        schema = json.loads(flow_run_inputs.read(connection.core, flow_run_id, schema_key).value)
    except ObjectNotFound:
        return "the run asked for input, but what it asked for is not stored: it cannot be resumed"
    validator: Any = jsonschema.Draft202012Validator(schema)  # its own type is partly unknown
    problems = validator.iter_errors(dict(run_input or {}))
    first = next(iter(sorted(problems, key=lambda problem: [str(part) for part in problem.absolute_path])), None)
    if first is None:
        return None
    where = ".".join(str(part) for part in first.absolute_path)
    return f"the run input does not fit what the run asked for: {f'{where}: ' if where else ''}{first.message}"
