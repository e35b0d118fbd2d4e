"""Flow runs and task runs, as the engine, the store and the API see them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from flowyard.schemas.ids import new_id
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.policies import NO_RETRIES, RetryPolicy
from flowyard.schemas.states import State, StateType

_NO_TIME = timedelta(0)


FORKED_FROM = "forked_from"
"""Where a flow run's `context` names the run whose results it uses."""


def utcnow() -> datetime:
    """Return the present time, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(eq=False, slots=True)
class Flow:
    """A flow that has been run: known by its name."""

    name: str
    id: UUID = field(default_factory=new_id)
    tags: list[str] = field(default_factory=list[str])
    created: datetime = field(default_factory=utcnow)
    updated: datetime = field(default_factory=utcnow)


@dataclass(eq=False, slots=True)
class StartInfo:
    """How to start a flow run again: what a retry, a resume or a fork needs."""

    entrypoint: str | None = None
    """`path/to/file.py:function` or `package.module:function`; None when it cannot be known (a notebook)."""
    source_hash: str | None = None
    working_directory: str | None = None
    parameters_key: str | None = None
    """Where in result storage the parameters are that JSON cannot carry; None when there are none."""


@dataclass(eq=False, slots=True)
class FlowRun:
    """One execution of a flow. Times are aware UTC; None means "not yet"."""

    flow_id: UUID
    name: str
    id: UUID = field(default_factory=new_id)
    flow_name: str = ""
    flow_version: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    context: dict[str, Any] = field(default_factory=dict[str, Any])
    tags: list[str] = field(default_factory=list[str])
    policy: RetryPolicy = NO_RETRIES
    pause_keys: frozenset[str] = frozenset()
    resuming: bool = False
    retry_type: str | None = None
    """`in_process`, `reschedule` or None: who starts the next attempt."""
    parent_task_run_id: UUID | None = None
    deployment_id: UUID | None = None
    infrastructure_pid: str | None = None
    idempotency_key: str | None = None
    start: StartInfo = field(default_factory=StartInfo)
    state: State[Any] | None = None
    run_count: int = 0
    expected_start_time: datetime | None = None
    next_scheduled_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    total_run_time: timedelta = _NO_TIME
    created: datetime = field(default_factory=utcnow)
    updated: datetime = field(default_factory=utcnow)

    @property
    def state_type(self) -> StateType | None:
        """The type of the current state."""
        return self.state.type if self.state else None

    @property
    def state_name(self) -> str | None:
        """The name of the current state."""
        return self.state.name if self.state else None

    @property
    def empirical_policy(self) -> RetryPolicy:
        """The retry policy, under the name that the REST API uses."""
        return self.policy


@dataclass(eq=False, slots=True)
class TaskRun:
    """One execution of a task. About 1 microsecond to make: every task call makes one."""

    task_key: str
    dynamic_key: str
    name: str
    task_name: str
    flow_run_id: UUID | None = None
    parent_task_run_id: UUID | None = None
    """The task run that called this one; None for a task called by its flow."""
    id: UUID = field(default_factory=new_id)
    task_version: str | None = None
    tags: tuple[str, ...] = ()
    policy: RetryPolicy = NO_RETRIES
    task_inputs: dict[str, list[dict[str, str]]] = field(default_factory=dict[str, list[dict[str, str]]])
    """Parameter name -> `{"input_type": "task_run", "id": ...}`; the key `wait_for` for explicit upstreams."""
    cache_key: str | None = None
    cache_expiration: datetime | None = None
    flow_run_run_count: int = 0
    state: State[Any] | None = None
    run_count: int = 0
    expected_start_time: datetime | None = None
    next_scheduled_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    total_run_time: timedelta = _NO_TIME
    created: datetime = field(default_factory=utcnow)
    updated: datetime | None = None
    metrics: TaskMetrics | None = None
    """What was measured where it ran: of runs that are read from the state backend; mostly None for short ones."""

    def sibling(self, id: UUID, dynamic_key: str, name: str) -> TaskRun:
        """Return the run of another call of the same map, which has entered no state."""
        return TaskRun(
            self.task_key,
            dynamic_key,
            name,
            self.task_name,
            self.flow_run_id,
            self.parent_task_run_id,
            id,
            self.task_version,
            self.tags,
            self.policy,
            flow_run_run_count=self.flow_run_run_count,
        )

    @property
    def state_type(self) -> StateType | None:
        """The type of the current state."""
        return self.state.type if self.state else None

    @property
    def state_name(self) -> str | None:
        """The name of the current state."""
        return self.state.name if self.state else None

    @property
    def empirical_policy(self) -> RetryPolicy:
        """The retry policy, under the name that the REST API uses."""
        return self.policy
