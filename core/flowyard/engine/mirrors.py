"""The task runs that stand for subflows in the flow that called them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from flowyard.context import current
from flowyard.engine.continuation import Continuation
from flowyard.engine.effects import Record
from flowyard.engine.naming import flow_key
from flowyard.engine.scope import Scope, dynamic_key_of
from flowyard.process.backends import PROCESS
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import TaskRunCreated, TaskRunEntered
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State, StateDetails, StateType


async def where_it_starts(parent: Scope, mirror: TaskRun) -> Continuation | None:
    """Return where a subflow starts from whose parent started from an earlier run; None for nothing."""
    before: Continuation | None = parent.continuation
    if before is None or parent.earlier is None:
        return None
    source_id = parent.earlier.sources.get((mirror.task_key, mirror.dynamic_key))
    if source_id is None:
        return None
    control = PROCESS.backend(parent.settings).control
    return await Record(lambda: before.of_subflow(control, source_id))


def mirror_run(fn: Callable[..., Any], name: str, parent: Scope, task_inputs: dict[str, Any]) -> TaskRun:
    """Return the task run that stands for a subflow in its parent: a new one, or that of an earlier attempt."""
    caller = current().task_run
    task_key = flow_key(fn)
    number = parent.take_numbers(task_key, caller)
    dynamic_key = dynamic_key_of(number, caller)
    if parent.earlier is not None and (task_key, dynamic_key) in parent.earlier.runs:
        return parent.earlier.runs[task_key, dynamic_key]
    assert parent.flow_run is not None
    run = TaskRun(
        task_key,
        dynamic_key,
        f"{name}-{number}",
        name,
        parent.flow_run.id,
        caller.task_run.id if caller is not None else None,
        tags=tuple(sorted(current().tags)),
        task_inputs=task_inputs,
    )
    parent.recorder.append(TaskRunCreated(run))
    mirror_state(parent, run, State(StateType.PENDING), None)
    if parent.earlier is not None:
        parent.earlier.runs[task_key, dynamic_key] = run
    return run


def mirror_state(parent: Scope, run: TaskRun, state: State[Any], child_flow_run_id: UUID | None) -> None:
    """Enter a copy of a subflow's state into the task run that stands for it."""
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id, child_flow_run_id=child_flow_run_id)
    copied = State(state.type, state.name, state.message, state.data, details, state.timestamp)
    enter_state(run, copied)
    parent.recorder.append(TaskRunEntered(run.id, copied))
