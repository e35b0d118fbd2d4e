"""Charts, as the REST API has them."""

from __future__ import annotations

from uuid import UUID

from flowyard.schemas.api.base import DateTime, Model, Seconds
from flowyard.schemas.states import StateType


class CountByState(Model):
    """A count by state."""

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
    """A history response state."""

    state_type: StateType
    state_name: str
    count_runs: int
    sum_estimated_run_time: Seconds
    sum_estimated_lateness: Seconds


class HistoryResponse(Model):
    """A history, as the API answers."""

    interval_start: DateTime
    interval_end: DateTime
    states: list[HistoryResponseState]


class SimpleFlowRun(Model):
    """A simple flow run."""

    id: UUID
    state_type: StateType
    timestamp: DateTime
    duration: Seconds
    lateness: Seconds


class TaskRunCount(Model):
    """A task run count."""

    completed: int
    failed: int
