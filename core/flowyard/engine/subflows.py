"""Flows that are called in a flow: a task run in the parent stands for each, and mirrors its states."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from flowyard.context import current
from flowyard.engine.continuation import Continuation
from flowyard.engine.dependencies import UpstreamFailed, find_dependencies, resolve
from flowyard.engine.effects import WaitFor
from flowyard.engine.flow_template import FlowCall
from flowyard.engine.mirrors import mirror_run, mirror_state, where_it_starts
from flowyard.engine.replay import Fingerprint, reusable_state
from flowyard.engine.scope import Scope
from flowyard.engine.task_call import settle_with
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State, StateType

Executed = Callable[[Mapping[str, Any], TaskRun, Continuation | None], Awaitable[State[Any]]]
"""Runs the flow with parameters, the task run that stands for it, and where an earlier attempt left it."""


async def run_subflow(call: FlowCall, parent: Scope, execute: Executed) -> State[Any]:
    """Wait for what a subflow needs, and run it, unless an earlier attempt of its parent has; return its last state.

    Raises:
        RuntimeError: this is a worker, which has no state backend.
    """
    if parent.is_remote:
        raise RuntimeError(
            f"flow {call.template.name!r} cannot start here: a worker has no state backend. "
            "Call it from the flow, or set FLOWYARD_API_URL for the workers"
        )
    dependencies, names = find_dependencies(call.parameters, call.wait_for, parent.lineage)
    run = mirror_run(
        call.template.fn, call.template.name, parent, dependencies.task_inputs if dependencies is not None else {}
    )
    parameters = call.parameters
    if dependencies is not None:
        if dependencies.completions:
            caller = current().task_run
            await WaitFor(dependencies.completions, caller.slot if caller is not None else None)
        try:
            dependencies.require_ready()
        except UpstreamFailed as failure:
            message = f"Upstream task run '{failure.name}' did not reach a 'COMPLETED' state."
            state = State(StateType.PENDING, name="NotReady", message=message)
            mirror_state(parent, run, state, None)
            parent.note(state)
            return state
        if names:
            parameters = resolve(parameters, names)
    fingerprint = Fingerprint(parameters)
    if parent.earlier is not None and parent.log is not None:
        reused = reusable_state(parent.earlier, run, fingerprint, parent.log)
        if reused is not None:
            return settle_with(parent, run, reused)
    state = await execute(parameters, run, await where_it_starts(parent, run))
    fingerprint.keep_for_retry(parent.earlier, run, is_subflow=True)
    parent.note(state)
    return state
