"""The end of a flow run whose time is over, or that is stopped, while tasks of it are under way.

What can be stopped is stopped; what cannot gets its last state from here after a moment, and whatever it says later is
dropped. So a task that no worker will ever take, or a worker that does not answer, keeps no flow from its end.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

from typing_extensions import override

from flowyard.aio import asyncio
from flowyard.context import Slot
from flowyard.engine.completion import Completion
from flowyard.engine.effects import Effect, Raised, Record
from flowyard.engine.scope import Scope
from flowyard.engine.task_call import crash_run
from flowyard.exceptions import BackendError, CrashedRun, Pause, TaskTimedOut
from flowyard.results.handles import UnpersistedResult
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State, StateDetails, StateType

_GRACE_SECONDS = 1.0
"""How long tasks have to say that their own time is over: it ends with the flow's."""
_STOPPED_SECONDS = 0.5
"""How long those have to be done that were stopped after that."""


class WaitAtMost(Effect[bool]):
    """Wait for a completion, so many seconds at most (None: for ever); gives whether it is done.

    `slot` is given back meanwhile, for another task to run in it.
    """

    __slots__ = ("completion", "seconds", "slot")

    def __init__(self, completion: Completion, seconds: float | None, slot: Slot | None) -> None:
        self.completion = completion
        self.seconds = seconds
        self.slot = slot

    @override
    def block(self) -> bool:
        if self.completion.is_done:
            return True
        if self.slot is not None:
            self.slot.release()
        try:
            return self.completion.block(self.seconds)
        finally:
            if self.slot is not None:
                self.slot.acquire()

    @override
    async def perform(self) -> bool:
        if self.completion.is_done:
            return True
        if self.slot is not None:
            self.slot.release()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.seconds):
                    await self.completion.wait_async()
        finally:
            if self.slot is not None:
                await self.slot.acquire_async()
        return self.completion.is_done


async def after_tasks(scope: Scope, value: Any, slot: Slot | None) -> Any:
    """Wait for what is under way, no longer than the flow may take; return its value, or that its time is over.

    Two seconds or so after its time the flow goes on in any case.
    """
    if not isinstance(value, Raised) or not value.is_timeout:
        if await WaitAtMost(scope.when_idle(), scope.seconds_left(), slot):
            # A task that timed out, and could not be stopped, leaves what it had called.
            left = CrashedRun("the task that called this one has ended, and so has the flow")
            scope.let_go_of_nested(lambda run: crash_run(scope, run, left))
            return value
        if not isinstance(value, Raised) or isinstance(value.error, Pause):
            value = Raised(_error_of(scope), is_timeout=True)
    await _end_overdue(scope, slot)
    return value


async def _end_overdue(scope: Scope, slot: Slot | None) -> None:
    idle = scope.when_idle()
    until = time.monotonic() + _GRACE_SECONDS
    await Record(scope.withdraw_waiting)
    if await WaitAtMost(idle, max(until - time.monotonic(), 0.0), slot):
        return
    await Record(scope.abandon_live)
    if not await WaitAtMost(idle, _STOPPED_SECONDS, slot):
        error = _error_of(scope)
        scope.let_go(lambda run: _time_out(scope, run, error))


def _error_of(scope: Scope) -> TaskTimedOut:
    assert scope.timeout_seconds is not None, "without a timeout no time is over"
    return TaskTimedOut("Flow", scope.timeout_seconds)


async def abandon(scope: Scope, cause: BaseException) -> None:
    """Stop what can be stopped and record the rest as Crashed: nobody waits for threads that will not end."""
    await Record(scope.abandon_live)
    scope.let_go(lambda run: crash_run(scope, run, cause))
    scope.is_closed = True


def _time_out(scope: Scope, run: TaskRun, error: TaskTimedOut) -> State[Any]:
    """Enter, record and return the last state of a run that outlived its flow."""
    before = run.state
    if before is not None and before.is_final():
        return before
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
    state: State[Any]
    if before is not None and before.is_running():
        message = f"{error} and the task could not be stopped: it may go on, and its result will be dropped"
        state = State(StateType.FAILED, "TimedOut", message, state_details=details)
    else:
        message = f"{error} before the task was known to begin"
        state = State(StateType.CANCELLED, message=message, state_details=details)
    state.data = UnpersistedResult(error)
    enter_state(run, state)
    scope.note(state)
    if scope.log is not None:
        scope.log.error("Task run '%s': %s", run.name, message)
    with contextlib.suppress(BackendError):
        scope.recorder.append(TaskRunEntered(run.id, state))
    return state
