"""Outcomes that a runner makes itself, because no shim could report one."""

from __future__ import annotations

from typing import Any

from flowyard.exceptions import UnpicklableValue
from flowyard.rules.bookkeeping import enter_state
from flowyard.rules.crashes import crashed_state
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.runs import TaskRun, utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.task_runners.base import Outcome, TaskCall


def synthesised(call: TaskCall, state: State[object], *, lost_worker: str | None = None) -> Outcome:
    """Return an outcome in which the call's run entered `state`, for the engine to record."""
    enter_state(call.task_run, state)
    return Outcome(
        call.task_run, state, [TaskRunEntered(call.task_run.id, state)], lost_worker=lost_worker, is_synthesised=True
    )


def cancelled(call: TaskCall, message: str = "The task was cancelled before it began.") -> Outcome:
    """Return the outcome of a call that never ran."""
    return synthesised(call, State(StateType.CANCELLED, message=message))


def crashed(call: TaskCall, error: BaseException, *, lost_worker: str | None = None) -> Outcome:
    """Return the outcome of a call that ended for a reason outside the user's code."""
    return synthesised(call, State(StateType.CRASHED, message=str(error), data=error), lost_worker=lost_worker)


def not_executed(run: TaskRun, error: BaseException, hint: str = "") -> Outcome:
    """Return the outcome of a call that a worker could not execute, because of what it was sent or of an interrupt.

    An `UnpicklableValue` means Failed, anything else Crashed. `hint` says what to do about a module that is missing.
    """
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
    if isinstance(error, UnpicklableValue):
        if "ModuleNotFoundError" in error.cause and hint:
            error = UnpicklableValue(error.what, error.type_name, f"{error.cause}; {hint}")
        text = f"Task run encountered an exception. {type(error).__name__}: {error}"
        state: State[Any] = State(StateType.FAILED, message=text, data=error, state_details=details)
    else:
        state = crashed_state(error, now=utcnow(), details=details)
    enter_state(run, state)
    return Outcome(run, state, [TaskRunEntered(run.id, state)])
