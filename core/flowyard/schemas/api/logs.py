"""Logs, as the REST API has them."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model, Operator
from flowyard.schemas.api.criteria import AnyId, Between
from flowyard.schemas.ids import new_id


class Log(Model):
    """A log line."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    level: int
    message: str
    timestamp: DateTime
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None


class LogCreate(Body):
    """A log line that a client sends."""

    name: str
    level: int
    message: str
    timestamp: DateTime
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None


class LogFilterFlowRunId(AnyId):
    """Logs by their flow run id."""


class LogFilterLevel(Body):
    """Logs by their level."""

    ge_: int | None = None
    le_: int | None = None


class LogFilterTaskRunId(AnyId):
    """Logs by their task run id."""


class LogFilterTimestamp(Between):
    """Logs by their timestamp."""


class LogFilter(Body):
    """Which logs to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    level: LogFilterLevel | None = None
    timestamp: LogFilterTimestamp | None = None
    flow_run_id: LogFilterFlowRunId | None = None
    task_run_id: LogFilterTaskRunId | None = None
