"""What charts show, as the REST API has them."""

from __future__ import annotations

from uuid import UUID

from flowyard.schemas.api.base import DateTime, Model, Seconds
from flowyard.schemas.states import StateType


class CountByState(Model):
    """How many runs are in states of each type."""

    COMPLETED: int = 0
    PENDING: int = 0
    RUNNING: int = 0
    FAILED: int = 0
    CANCELLED: int = 0
    CRASHED: int = 0
    PAUSED: int = 0
    CANCELLING: int = 0
    SCHEDULED: int = 0


class HistoryResponseState(Model):
    """The runs of an interval that are in one state, and how long they ran and how late they began in all."""

    state_type: StateType
    state_name: str
    count_runs: int
    sum_estimated_run_time: Seconds
    sum_estimated_lateness: Seconds


class HistoryResponse(Model):
    """The runs of an interval by their states."""

    interval_start: DateTime
    interval_end: DateTime
    states: list[HistoryResponseState]


class SimpleFlowRun(Model):
    """A flow run as a point of a chart."""

    id: UUID
    state_type: StateType
    timestamp: DateTime
    duration: Seconds
    lateness: Seconds


class TaskRunCount(Model):
    """The task runs of an interval that have completed and failed."""

    completed: int
    failed: int


class StateCount(Model):
    """How many runs are in a state."""

    state_type: StateType
    state_name: str
    count: int


class TaskCount(StateCount):
    """How many runs of a task are in a state."""

    task_name: str
