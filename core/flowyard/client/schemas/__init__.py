"""What clients send and get, under Prefect 2's names: the models of the REST API, with states as flows have them."""

from flowyard.client.schemas.actions import BlockTypeUpdate, StateCreate
from flowyard.client.schemas.objects import (
    BlockDocument,
    BlockSchema,
    BlockType,
    FlowRun,
    FlowRunPolicy,
    State,
    StateDetails,
    StateType,
    TaskRun,
    TaskRunInput,
    TaskRunPolicy,
    TaskRunResult,
)
from flowyard.client.schemas.responses import (
    OrchestrationResult,
    SetStateStatus,
    StateAbortDetails,
    StateAcceptDetails,
    StateRejectDetails,
)

__all__ = [
    "BlockDocument",
    "BlockSchema",
    "BlockType",
    "BlockTypeUpdate",
    "FlowRun",
    "FlowRunPolicy",
    "OrchestrationResult",
    "SetStateStatus",
    "State",
    "StateAbortDetails",
    "StateAcceptDetails",
    "StateCreate",
    "StateDetails",
    "StateRejectDetails",
    "StateType",
    "TaskRun",
    "TaskRunInput",
    "TaskRunPolicy",
    "TaskRunResult",
]
