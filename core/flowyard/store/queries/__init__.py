"""What is asked and done through SQLAlchemy, by noun. A module of it is loaded when it is first asked for.

The statements that a script needs to run a flow are in `store` itself, as text: see `store.plain`.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowyard.store import task_runs, task_timings
    from flowyard.store.queries import flow_runs, flows, logs, rollups, states

__all__ = ["flow_runs", "flows", "logs", "rollups", "states", "task_runs", "task_timings"]
_BESIDE = ("task_runs", "task_timings")


def __getattr__(name: str) -> ModuleType:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"flowyard.store.{name}" if name in _BESIDE else f"{__name__}.{name}")
