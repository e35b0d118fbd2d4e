"""Records for tests: flow runs that have begun, task runs and the events of their lives."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flowyard.ports import Backend, Lease, Recorder
from flowyard.schemas.events import LogEmitted, TaskRunCreated, TaskRunEntered
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateDetails, StateType

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LIFE = (StateType.PENDING, StateType.RUNNING, StateType.COMPLETED)


def begin(backend: Backend, flow_name: str = "flow", **fields: Any) -> tuple[FlowRun, Lease]:
    """Begin a flow run and let it be Running."""
    fields.setdefault("name", "brave-otter")
    run = FlowRun(flow_id=new_id(), state=State(StateType.PENDING), **fields)
    lease = backend.control.begin_flow_run(flow_name, run)
    backend.control.propose_flow_run_state(run.id, State(StateType.RUNNING), lease=lease)
    return run, lease


def make_task_run(flow_run_id: UUID | None = None, number: int = 0, **fields: Any) -> TaskRun:
    """Return the record of a call of the task `work`."""
    fields.setdefault("task_name", "work")
    fields.setdefault("name", f"{fields['task_name']}-{number}")
    return TaskRun(f"{fields['task_name']}-1a2b3c4d", str(number), flow_run_id=flow_run_id, **fields)


def record(
    recorder: Recorder, run: TaskRun, types: Iterable[StateType] = LIFE, *, start: datetime = NOON
) -> list[State[Any]]:
    """Record that a task was called and entered states of these types, one second apart; return the states."""
    recorder.append(TaskRunCreated(run))
    return enter(recorder, run, types, start=start)


def enter(recorder: Recorder, run: TaskRun, types: Iterable[StateType], *, start: datetime = NOON) -> list[State[Any]]:
    """Record that a task run entered states of these types, one second apart; return the states."""
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
    states: list[State[Any]] = []
    for number, kind in enumerate(types):
        state: State[Any] = State(kind, state_details=details, timestamp=start + timedelta(seconds=number))
        recorder.append(TaskRunEntered(run.id, state))
        states.append(state)
    return states


def make_line(
    flow_run_id: UUID | None, message: str, *, second: float = 0.0, task_run_id: UUID | None = None, level: int = 20
) -> LogEmitted:
    """Return a log line, so many seconds after noon."""
    return LogEmitted(flow_run_id, task_run_id, "flowyard.test", level, message, NOON + timedelta(seconds=second))
