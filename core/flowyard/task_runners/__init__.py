"""Where task calls execute: one runner a flow run, chosen with `@flow(task_runner=...)`."""

from flowyard.task_runners.base import (
    BaseTaskRunner,
    Capabilities,
    Handle,
    Outcome,
    TaskCall,
    TaskConcurrencyType,
    TaskRunner,
)
from flowyard.task_runners.concurrent import ConcurrentTaskRunner
from flowyard.task_runners.sequential import SequentialTaskRunner

__all__ = [
    "BaseTaskRunner",
    "Capabilities",
    "ConcurrentTaskRunner",
    "Handle",
    "Outcome",
    "SequentialTaskRunner",
    "TaskCall",
    "TaskConcurrencyType",
    "TaskRunner",
]
