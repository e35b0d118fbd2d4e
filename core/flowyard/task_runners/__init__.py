"""Where task calls execute: one runner a flow run, chosen with `@flow(task_runner=...)`."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from flowyard.task_runners.process import ProcessPoolTaskRunner

__all__ = [
    "BaseTaskRunner",
    "Capabilities",
    "ConcurrentTaskRunner",
    "Handle",
    "Outcome",
    "ProcessPoolTaskRunner",
    "SequentialTaskRunner",
    "TaskCall",
    "TaskConcurrencyType",
    "TaskRunner",
]


def __getattr__(name: str) -> Any:
    # multiprocessing and cloudpickle are 40 ms that scripts without this runner need not pay.
    if name == "ProcessPoolTaskRunner":
        from flowyard.task_runners.process import ProcessPoolTaskRunner  # noqa: PLC0415

        return ProcessPoolTaskRunner
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
