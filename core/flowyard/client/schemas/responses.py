"""What clients get as the answer to a question."""

from __future__ import annotations

from flowyard.client.schemas.runs import FlowRun, OrchestrationResult, WorkerFlowRunResponse
from flowyard.schemas.api.charts import HistoryResponse, HistoryResponseState
from flowyard.schemas.api.deployments import DeploymentResponse
from flowyard.schemas.api.limits import GlobalConcurrencyLimitResponse, MinimalConcurrencyLimitResponse
from flowyard.schemas.api.states import (
    SetStateStatus,
    StateAbortDetails,
    StateAcceptDetails,
    StateRejectDetails,
    StateWaitDetails,
)

FlowRunResponse = FlowRun

__all__ = [
    "DeploymentResponse",
    "FlowRunResponse",
    "GlobalConcurrencyLimitResponse",
    "HistoryResponse",
    "HistoryResponseState",
    "MinimalConcurrencyLimitResponse",
    "OrchestrationResult",
    "SetStateStatus",
    "StateAbortDetails",
    "StateAcceptDetails",
    "StateRejectDetails",
    "StateWaitDetails",
    "WorkerFlowRunResponse",
]
