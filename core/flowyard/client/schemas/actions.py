"""What creates and changes objects."""

from __future__ import annotations

from flowyard.schemas.api.artifacts import ArtifactCreate, ArtifactUpdate
from flowyard.schemas.api.blocks import (
    BlockDocumentCreate,
    BlockDocumentUpdate,
    BlockSchemaCreate,
    BlockTypeCreate,
    BlockTypeUpdate,
)
from flowyard.schemas.api.deployments import (
    DeploymentCreate,
    DeploymentFlowRunCreate,
    DeploymentScheduleCreate,
    DeploymentScheduleUpdate,
    DeploymentUpdate,
)
from flowyard.schemas.api.flow_runs import FlowRunCreate, FlowRunUpdate
from flowyard.schemas.api.flows import FlowCreate, FlowUpdate
from flowyard.schemas.api.limits import ConcurrencyLimitCreate
from flowyard.schemas.api.limits import ConcurrencyLimitV2Create as GlobalConcurrencyLimitCreate
from flowyard.schemas.api.limits import ConcurrencyLimitV2Update as GlobalConcurrencyLimitUpdate
from flowyard.schemas.api.logs import LogCreate
from flowyard.schemas.api.notifications import FlowRunNotificationPolicyCreate, FlowRunNotificationPolicyUpdate
from flowyard.schemas.api.saved_searches import SavedSearchCreate
from flowyard.schemas.api.states import StateCreate
from flowyard.schemas.api.task_runs import TaskRunCreate, TaskRunUpdate
from flowyard.schemas.api.variables import VariableCreate, VariableUpdate
from flowyard.schemas.api.work_pools import WorkPoolCreate, WorkPoolUpdate, WorkQueueCreate, WorkQueueUpdate

__all__ = [
    "ArtifactCreate",
    "ArtifactUpdate",
    "BlockDocumentCreate",
    "BlockDocumentUpdate",
    "BlockSchemaCreate",
    "BlockTypeCreate",
    "BlockTypeUpdate",
    "ConcurrencyLimitCreate",
    "DeploymentCreate",
    "DeploymentFlowRunCreate",
    "DeploymentScheduleCreate",
    "DeploymentScheduleUpdate",
    "DeploymentUpdate",
    "FlowCreate",
    "FlowRunCreate",
    "FlowRunNotificationPolicyCreate",
    "FlowRunNotificationPolicyUpdate",
    "FlowRunUpdate",
    "FlowUpdate",
    "GlobalConcurrencyLimitCreate",
    "GlobalConcurrencyLimitUpdate",
    "LogCreate",
    "SavedSearchCreate",
    "StateCreate",
    "TaskRunCreate",
    "TaskRunUpdate",
    "VariableCreate",
    "VariableUpdate",
    "WorkPoolCreate",
    "WorkPoolUpdate",
    "WorkQueueCreate",
    "WorkQueueUpdate",
]
