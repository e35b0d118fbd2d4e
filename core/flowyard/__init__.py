"""Flowyard: distributed, parallel Python dataflows that are fast and durably recorded."""

from flowyard._version import __version__
from flowyard.annotations import allow_failure, quote, unmapped
from flowyard.context import tags
from flowyard.flows import Flow, flow
from flowyard.logging.loggers import get_run_logger
from flowyard.pausing import pause_flow_run, resume_flow_run, suspend_flow_run
from flowyard.schemas.states import State
from flowyard.tasks import Task, task

__all__ = [
    "Flow",
    "State",
    "Task",
    "__version__",
    "allow_failure",
    "flow",
    "get_run_logger",
    "pause_flow_run",
    "quote",
    "resume_flow_run",
    "suspend_flow_run",
    "tags",
    "task",
    "unmapped",
]
