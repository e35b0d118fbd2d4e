"""What the journal carries: one small record for everything that happens to a task run, and for every log line.

Events are facts in the order in which they happened; the store turns them into rows (`store.projection`). They are
named tuples because one is made for every state and every log line.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State


class TaskRunCreated(NamedTuple):
    """A task was called. Only the fields that never change afterwards are read from `task_run`."""

    task_run: TaskRun


class TaskRunRenamed(NamedTuple):
    """The name of a task run was made from its parameters."""

    task_run_id: UUID
    name: str


class TaskRunEntered(NamedTuple):
    """A task run entered a state."""

    task_run_id: UUID
    state: State[Any]


class TaskRunMeasured(NamedTuple):
    """What was measured about a task run in all its attempts; comes in front of the state that they led to."""

    task_run_id: UUID
    metrics: TaskMetrics


class LogEmitted(NamedTuple):
    """A log line of a run."""

    flow_run_id: UUID | None
    task_run_id: UUID | None
    name: str
    level: int
    message: str
    timestamp: datetime


JournalEvent = TaskRunCreated | TaskRunRenamed | TaskRunEntered | TaskRunMeasured | LogEmitted
