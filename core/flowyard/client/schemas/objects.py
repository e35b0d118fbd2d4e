"""The objects that clients get."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from flowyard.client.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.api.artifacts import Artifact, ArtifactCollection
from flowyard.schemas.api.base import DateTime, Model
from flowyard.schemas.api.blocks import BlockDocument, BlockSchema, BlockType
from flowyard.schemas.api.csrf import CsrfToken
from flowyard.schemas.api.deployments import DeploymentResponse, DeploymentSchedule, DeploymentStatus
from flowyard.schemas.api.flow_runs import FlowRunInput, FlowRunPolicy
from flowyard.schemas.api.flows import Flow
from flowyard.schemas.api.limits import ConcurrencyLimit
from flowyard.schemas.api.limits import ConcurrencyLimitV2 as GlobalConcurrencyLimit
from flowyard.schemas.api.logs import Log
from flowyard.schemas.api.notifications import FlowRunNotificationPolicy
from flowyard.schemas.api.saved_searches import SavedSearch, SavedSearchFilter
from flowyard.schemas.api.schedules import Schedule
from flowyard.schemas.api.task_runs import Constant, Parameter, TaskRunPolicy, TaskRunResult
from flowyard.schemas.api.task_runs import TaskInput as TaskRunInput
from flowyard.schemas.api.variables import Variable
from flowyard.schemas.api.work_pools import (
    QueueFilter,
    WorkerStatus,
    WorkPool,
    WorkPoolStatus,
    WorkQueueHealthPolicy,
    WorkQueueStatus,
    WorkQueueStatusDetail,
)
from flowyard.schemas.api.work_pools import WorkerResponse as Worker
from flowyard.schemas.api.work_pools import WorkQueueResponse as WorkQueue
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import State, StateDetails, StateType

Deployment = DeploymentResponse
DEFAULT_BLOCK_SCHEMA_VERSION = "non-versioned"
DEFAULT_AGENT_WORK_POOL_NAME = "default-agent-pool"
MAX_VARIABLE_NAME_LENGTH = 255
MAX_VARIABLE_VALUE_LENGTH = 5000


class MinimalDeploymentSchedule(Model):
    """A schedule, and whether it is followed."""

    schedule: Schedule
    active: bool = True


class _Stored(Model):
    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None


class BlockSchemaReference(_Stored):
    """That a schema has a field for blocks of another one."""

    parent_block_schema_id: UUID
    parent_block_schema: BlockSchema | None = None
    reference_block_schema_id: UUID
    reference_block_schema: BlockSchema | None = None
    name: str


class BlockDocumentReference(_Stored):
    """That a block has another one in a field."""

    parent_block_document_id: UUID
    parent_block_document: BlockDocument | None = None
    reference_block_document_id: UUID
    reference_block_document: BlockDocument | None = None
    name: str


class Configuration(_Stored):
    """A value that a server keeps for itself."""

    key: str
    value: dict[str, Any]


class Agent(_Stored):
    """An agent of a work queue."""

    name: str
    work_queue_id: UUID
    last_activity_time: DateTime | None = None


__all__ = [
    "DEFAULT_AGENT_WORK_POOL_NAME",
    "DEFAULT_BLOCK_SCHEMA_VERSION",
    "MAX_VARIABLE_NAME_LENGTH",
    "MAX_VARIABLE_VALUE_LENGTH",
    "Agent",
    "Artifact",
    "ArtifactCollection",
    "BlockDocument",
    "BlockDocumentReference",
    "BlockSchema",
    "BlockSchemaReference",
    "BlockType",
    "ConcurrencyLimit",
    "Configuration",
    "Constant",
    "CsrfToken",
    "Deployment",
    "DeploymentSchedule",
    "DeploymentStatus",
    "Flow",
    "FlowRun",
    "FlowRunInput",
    "FlowRunNotificationPolicy",
    "FlowRunPolicy",
    "GlobalConcurrencyLimit",
    "Log",
    "MinimalDeploymentSchedule",
    "Parameter",
    "QueueFilter",
    "SavedSearch",
    "SavedSearchFilter",
    "State",
    "StateDetails",
    "StateType",
    "TaskRun",
    "TaskRunInput",
    "TaskRunPolicy",
    "TaskRunResult",
    "Variable",
    "WorkPool",
    "WorkPoolStatus",
    "WorkQueue",
    "WorkQueueHealthPolicy",
    "WorkQueueStatus",
    "WorkQueueStatusDetail",
    "Worker",
    "WorkerStatus",
]
