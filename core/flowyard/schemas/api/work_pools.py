"""Work pools, as the REST API has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, cast
from uuid import UUID

from pydantic import AfterValidator, Field

from flowyard.schemas.api.base import Body, DateTime, Model, Operator
from flowyard.schemas.api.criteria import AnyId, AnyText, Between
from flowyard.schemas.api.flow_runs import FlowRun
from flowyard.schemas.api.names import Name
from flowyard.schemas.ids import new_id

_MOST = 2**31 - 1  # what a column holds
RunLimit = Annotated[int, Field(ge=0, le=_MOST)]
"""How many runs may be pending or running at once; 0 lets none start."""
Priority = Annotated[int, Field(ge=1, le=_MOST)]
"""Which queue of a pool is served first: 1 before all others."""
WholeSeconds = Annotated[int, Field(ge=1, le=_MOST)]
"""A number of seconds."""
_PLACEHOLDER = re.compile(r"{{\s*([\w.\-\[\]$]+)\s*}}")
# What a worker fills in by itself, whatever the variables are.
_OTHERS = ("$", "prefect.", "flowyard.")


def _check_template(template: dict[str, Any]) -> dict[str, Any]:
    if not template:
        return template
    if "job_configuration" not in template or "variables" not in template:
        raise ValueError("a base_job_template that is not empty has both 'job_configuration' and 'variables'")
    variables: Any = template["variables"]
    properties: Any = cast("dict[str, Any]", variables).get("properties") if isinstance(variables, dict) else None
    known = cast("dict[str, Any]", properties or {})
    unknown = sorted(set(_placeholders(template["job_configuration"])) - set(known))
    if unknown:
        raise ValueError(f"the job configuration uses {unknown!r}, which 'variables' does not declare")
    return template


def _placeholders(value: Any) -> Iterator[str]:
    """Yield the names of the variables that a job configuration uses."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting.extend(cast("dict[str, Any]", item).values())
        elif isinstance(item, list):
            waiting.extend(cast("list[Any]", item))
        elif isinstance(item, str):
            yield from (name for name in _PLACEHOLDER.findall(item) if not name.startswith(_OTHERS))


JobTemplate = Annotated[dict[str, Any], AfterValidator(_check_template)]
"""`job_configuration`, with placeholders, and `variables`: the JSON schema of what fills them; or nothing."""


class WorkPoolStatus(StrEnum):
    """Whether runs of a pool find a worker: READY as long as one is online."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    PAUSED = "PAUSED"


class WorkQueueStatus(StrEnum):
    """Whether somebody polls a queue: READY if the last poll is less than a minute ago."""

    READY = "READY"
    NOT_READY = "NOT_READY"
    PAUSED = "PAUSED"


class WorkerStatus(StrEnum):
    """Whether a worker sends heartbeats."""

    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"


class QueueFilter(Model):
    """Which runs a queue of Prefect 2.7 takes, in place of those that name it: all of these tags, one of these."""

    tags: list[str] | None = None
    deployment_ids: list[UUID] | None = None


class WorkPool(Model):
    """Where runs of one type of infrastructure wait for workers of that type, in queues."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    description: str | None = None
    type: str
    base_job_template: dict[str, Any] = Field(default_factory=dict[str, Any])
    """`job_configuration`, with placeholders, and `variables`: the JSON schema of what fills them."""
    is_paused: bool = False
    concurrency_limit: int | None = None
    status: WorkPoolStatus | None = None
    default_queue_id: UUID | None = None


class WorkPoolCreate(Body):
    """What creates a work pool."""

    name: Name
    description: str | None = None
    type: str = "prefect-agent"
    base_job_template: JobTemplate = Field(default_factory=dict[str, Any])
    is_paused: bool = False
    concurrency_limit: RunLimit | None = None


class WorkPoolFilterId(AnyId):
    """Work pools by their id."""


class WorkPoolFilterName(AnyText):
    """Work pools by their name."""


class WorkPoolFilterType(AnyText):
    """Work pools by their type."""


class WorkPoolFilter(Body):
    """Which work pools to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: WorkPoolFilterId | None = None
    name: WorkPoolFilterName | None = None
    type: WorkPoolFilterType | None = None


class WorkPoolUpdate(Body):
    """What can be changed of a work pool; a field that is left out stays."""

    description: str | None = None
    is_paused: bool | None = None
    base_job_template: JobTemplate | None = None
    concurrency_limit: RunLimit | None = None


class WorkQueue(Model):
    """A line in which runs of a work pool wait."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    description: str | None = ""
    is_paused: bool = False
    concurrency_limit: int | None = None
    priority: int = 1
    work_pool_id: UUID | None = None
    filter: QueueFilter | None = None
    last_polled: DateTime | None = None


class WorkQueueCreate(Body):
    """What creates a work queue."""

    name: Name
    description: str | None = ""
    is_paused: bool = False
    concurrency_limit: RunLimit | None = None
    priority: Priority | None = None
    """By default after all others of the pool; the queues from this place on move back by one."""
    filter: QueueFilter | None = None


class WorkQueueFilterId(AnyId):
    """Work queues by their id."""


class WorkQueueFilterName(Body):
    """Work queues by their name."""

    any_: list[str] | None = None
    startswith_: list[str] | None = None


class WorkQueueFilter(Body):
    """Which work queues to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: WorkQueueFilterId | None = None
    name: WorkQueueFilterName | None = None


class WorkQueueHealthPolicy(Model):
    """When a queue counts as healthy."""

    maximum_late_runs: int | None = 0
    maximum_seconds_since_last_polled: int | None = 60


class WorkQueueResponse(Model):
    """A work queue, as the API answers."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    description: str | None = ""
    is_paused: bool = False
    concurrency_limit: int | None = None
    priority: int = 1
    work_pool_id: UUID | None = None
    filter: QueueFilter | None = None
    last_polled: DateTime | None = None
    work_pool_name: str | None = None
    status: WorkQueueStatus | None = None


class WorkQueueStatusDetail(Model):
    """How a queue is."""

    healthy: bool
    late_runs_count: int = 0
    last_polled: DateTime | None = None
    health_check_policy: WorkQueueHealthPolicy


class WorkQueueUpdate(Body):
    """What can be changed of a work queue; a field that is left out stays."""

    name: Name | None = None
    description: str | None = None
    is_paused: bool = False
    concurrency_limit: RunLimit | None = None
    priority: Priority | None = None
    last_polled: DateTime | None = None
    filter: QueueFilter | None = None


class WorkerFilterLastHeartbeatTime(Between):
    """Workers by when they sent their last heartbeat."""


class WorkerFilterStatus(Body):
    """Workers by their status."""

    any_: list[WorkerStatus] | None = None
    not_any_: list[WorkerStatus] | None = None


class WorkerFilter(Body):
    """Which workers to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    last_heartbeat_time: WorkerFilterLastHeartbeatTime | None = None
    status: WorkerFilterStatus | None = None


class WorkerFlowRunResponse(Model):
    """A flow run that is handed out to a worker, and where it waited."""

    work_pool_id: UUID
    work_queue_id: UUID
    flow_run: FlowRun


class WorkerResponse(Model):
    """A worker, as the API answers."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    name: str
    work_pool_id: UUID
    last_heartbeat_time: DateTime | None = None
    heartbeat_interval_seconds: int | None = None
    status: WorkerStatus = WorkerStatus.OFFLINE
