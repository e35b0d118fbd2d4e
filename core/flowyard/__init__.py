"""Flowyard: distributed, parallel Python dataflows that are fast and durably recorded."""

from typing import TYPE_CHECKING

from flowyard._version import __version__
from flowyard.annotations import allow_failure, quote, unmapped
from flowyard.context import tags
from flowyard.flows import Flow, flow
from flowyard.logging.loggers import get_run_logger
from flowyard.pausing import pause_flow_run, resume_flow_run, suspend_flow_run
from flowyard.schemas.states import State
from flowyard.tasks import Task, task

if TYPE_CHECKING:
    from flowyard import artifacts as artifacts
    from flowyard import blocks as blocks
    from flowyard import cache_policies as cache_policies
    from flowyard import client as client
    from flowyard import concurrency as concurrency
    from flowyard import events as events
    from flowyard import filesystems as filesystems
    from flowyard import futures as futures
    from flowyard import input as input
    from flowyard import results as results
    from flowyard import runtime as runtime
    from flowyard import serializers as serializers
    from flowyard import states as states
    from flowyard import task_runners as task_runners
    from flowyard import transactions as transactions
    from flowyard import utilities as utilities
    from flowyard import variables as variables
    from flowyard.client.orchestration import get_client
else:
    _MODULES = {
        **{name: f"flowyard.{name}" for name in ("artifacts", "cache_policies", "client", "concurrency", "events")},
        **{name: f"flowyard.{name}" for name in ("filesystems", "futures", "input", "results", "runtime")},
        **{name: f"flowyard.{name}" for name in ("serializers", "states", "task_runners", "transactions", "variables")},
        "blocks": "flowyard.blocks.system",
        "utilities": "flowyard.utilities.annotations",
    }

    def __getattr__(name: str) -> object:
        """Import what `flowyard.NAME` means when somebody asks for it: `import flowyard` stays quick."""
        from importlib import import_module  # noqa: PLC0415

        if name in _MODULES:
            import_module(_MODULES[name])
            return import_module(f"flowyard.{name}")
        if name == "get_client":
            return import_module("flowyard.client.orchestration").get_client
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Flow",
    "State",
    "Task",
    "__version__",
    "allow_failure",
    "flow",
    "get_client",
    "get_run_logger",
    "pause_flow_run",
    "quote",
    "resume_flow_run",
    "suspend_flow_run",
    "tags",
    "task",
    "unmapped",
]
