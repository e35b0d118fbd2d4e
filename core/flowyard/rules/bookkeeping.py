"""What every state changes in a run's columns. 0.2 microseconds a state: it runs for every state of every run, twice.

The engine applies it to `FlowRun` and `TaskRun`, the store to its own rows while it replays the journal.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

from flowyard.rules.decision import Decision, RunState
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import FINAL_TYPES, NO_DETAILS, StateDetails, StateType

_RUNNING = StateType.RUNNING
_SCHEDULED = StateType.SCHEDULED
_NO_TIME = timedelta(0)
_AN_INSTANT = timedelta(microseconds=1)


class RunColumns(Protocol):
    """The attributes that `enter_state` reads and writes. A flow run has `resuming: bool` as well."""

    state: RunState | None
    run_count: int
    expected_start_time: datetime | None
    next_scheduled_start_time: datetime | None
    start_time: datetime | None
    end_time: datetime | None
    total_run_time: timedelta
    updated: datetime | None


class _SinceWhen(Protocol):
    @property
    def type(self) -> StateType: ...
    @property
    def timestamp(self) -> datetime: ...


class RunTimes(Protocol):
    """What the estimates below read of a run, whatever its class."""

    @property
    def state(self) -> _SinceWhen | None:
        """The current state."""
        ...

    @property
    def expected_start_time(self) -> datetime | None:
        """When the run should have started."""
        ...

    @property
    def start_time(self) -> datetime | None:
        """When it did."""
        ...

    @property
    def total_run_time(self) -> timedelta:
        """How long it ran in the attempts that have ended."""
        ...


def enter_state(run: FlowRun | TaskRun | RunColumns, state: RunState) -> None:
    """Put a run into a state, and bring its counters and times along.

    A flow run that was marked as resuming does not count as run once more.
    """
    kind = state.type
    timestamp = state.timestamp
    before = run.state
    is_final = kind in FINAL_TYPES
    if before is not None:
        left = before.type
        if left is _RUNNING:
            spent = timestamp - before.timestamp
            # The clock of the host can be set back between two states.
            if spent > _NO_TIME:
                run.total_run_time += spent
        elif left is _SCHEDULED:
            run.next_scheduled_start_time = None
        elif not is_final and left in FINAL_TYPES:
            run.end_time = None
    if run.expected_start_time is None:
        run.expected_start_time = state.state_details.scheduled_time if kind is _SCHEDULED else timestamp
    if kind is _RUNNING:
        if run.start_time is None:
            run.start_time = timestamp
        # Task runs and rows of task runs have no such attribute.
        if getattr(run, "resuming", False):
            run.resuming = False  # pyright: ignore[reportAttributeAccessIssue]  only flow runs come here
        else:
            run.run_count += 1
    elif is_final:
        if run.end_time is None and run.start_time is not None:
            run.end_time = timestamp
        if getattr(run, "resuming", False):
            run.resuming = False  # pyright: ignore[reportAttributeAccessIssue]
    elif kind is _SCHEDULED:
        run.next_scheduled_start_time = state.state_details.scheduled_time
    run.state = state
    run.updated = timestamp


def apply_decision(run: FlowRun | TaskRun | RunColumns, decision: Decision) -> bool:
    """Write what a decision says on a run; False when it leaves the run as it is."""
    if decision.state is None:
        return False
    if decision.changes:
        for name, value in decision.changes.items():
            setattr(run, name, value)
    keep_order(run.state, decision.state)
    enter_state(run, decision.state)
    return True


def keep_order(before: RunState | None, state: RunState) -> None:
    """Let a state begin no earlier than the one before, also when that one was made by a clock that is ahead."""
    if before is not None and state.timestamp < before.timestamp:
        state.timestamp = before.timestamp + _AN_INSTANT


def stamp(state: RunState, ids: StateDetails) -> None:
    """Write into a state whose it is, before it is recorded.

    A state without run ids is one a user made by hand (it decides the outcome of the flow that returns it), so every
    recorded state must have them. `ids` has the ids of the run and nothing else; make it once per run (1.5
    microseconds): states without details of their own share it.
    """
    details = state.state_details
    if details is NO_DETAILS:
        state.state_details = ids
        return
    state.state_details = replace(
        details,
        flow_run_id=ids.flow_run_id or details.flow_run_id,
        task_run_id=ids.task_run_id or details.task_run_id,
    )


def estimated_run_time(run: RunTimes, now: datetime) -> timedelta:
    """Return how long a run has been running in all, up to now if it still is."""
    if run.state is not None and run.state.type is _RUNNING:
        return run.total_run_time + max(now - run.state.timestamp, _NO_TIME)
    return run.total_run_time


def estimated_start_time_delta(run: RunTimes, now: datetime) -> timedelta:
    """Return how much later than expected a run started, or will start at best; never negative."""
    expected = run.expected_start_time
    if expected is None:
        return _NO_TIME
    if run.start_time is not None:
        return max(run.start_time - expected, _NO_TIME)
    if run.state is not None and run.state.type in FINAL_TYPES:
        return _NO_TIME
    return max(now - expected, _NO_TIME)
