"""Calls as the engine would hand them to a runner, and what came of them."""

from __future__ import annotations

import inspect
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from flowyard.engine.local_shim import LocalShim
from flowyard.parameters.binding import CallSignature
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import JournalEvent, TaskRunEntered
from flowyard.schemas.ids import new_id
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.task_runners.base import CallContext, Handle, Outcome, TaskCall, TaskSpec
from flowyard.testing.workloads import PATIENCE_SECONDS

_numbers = itertools.count()


class EventList(list[JournalEvent]):
    """A `Recorder` that keeps what it is given."""

    @override
    def append(self, event: JournalEvent) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        super().append(event)


@dataclass
class RecordedCall:
    """A call with everything it recorded."""

    call: TaskCall
    recorder: EventList

    def states(self, outcome: Outcome) -> list[str]:
        """Return the names of the states that reach the journal, in order."""
        return [
            event.state.name
            for event in [*self.recorder, *outcome.events]
            if isinstance(event, TaskRunEntered) and event.task_run_id == self.call.task_run.id
        ]


def make_call(fn: Callable[..., Any], *, policy: RetryPolicy | None = None, **arguments: Any) -> RecordedCall:
    """Return a call of a plain function, as the engine would hand it to a runner."""
    name = fn.__name__
    number = next(_numbers)
    flow_run = FlowRun(new_id(), "a-flow-run", state=State(StateType.RUNNING))
    run = TaskRun(f"{fn.__module__}.{name}", str(number), f"{name}-{number}", name, flow_run.id)
    if policy is not None:
        run.policy = policy
    enter_state(run, State(StateType.PENDING))
    recorded = EventList()
    spec = TaskSpec(task=None, fn=fn, signature=CallSignature(fn), name=name, is_async=inspect.iscoroutinefunction(fn))
    call = TaskCall(
        spec=spec,
        task_run=run,
        arguments=arguments,
        context=CallContext(flow_run, "a-flow"),
        shim=LocalShim(),
        recorder=recorded,
    )
    return RecordedCall(call, recorded)


def outcome_of(handle: Handle) -> Outcome:
    """Wait for a handle, with a deadline."""
    done = threading.Event()
    handle.add_done_callback(lambda _: done.set())
    assert done.wait(PATIENCE_SECONDS), f"the call of task run {handle.task_run_id} never became done"
    assert handle.outcome is not None
    return handle.outcome


def outcomes_of(handles: Sequence[Handle]) -> list[Outcome]:
    """Wait for several handles."""
    return [outcome_of(handle) for handle in handles]
