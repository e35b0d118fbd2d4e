"""Outcomes that a runner makes itself, because no shim could report one."""

from __future__ import annotations

from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.states import State, StateType
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
