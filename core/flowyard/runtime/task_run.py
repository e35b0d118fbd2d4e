"""The task run that executes here, attribute by attribute; outside of task runs None, 0, or empty."""

from __future__ import annotations

from typing import Any

from flowyard.context import current
from flowyard.runtime.attributes import Attributes

id: str | None
tags: list[str]
name: str | None
parameters: dict[str, Any]
run_count: int
task_name: str | None

__all__ = ["id", "name", "parameters", "run_count", "tags", "task_name"]


def get_id() -> str | None:
    """Return the id of the task run."""
    here = current().shown_task_run
    return str(here.task_run.id) if here is not None else None


def get_tags() -> list[str]:
    """Return the tags of the task run."""
    here = current().shown_task_run
    return list(here.task_run.tags) if here is not None else []


def get_run_count() -> int:
    """Return how many times the task run has been started, this time included."""
    here = current().shown_task_run
    return here.task_run.run_count if here is not None else 0


def get_name() -> str | None:
    """Return the name of the task run."""
    here = current().shown_task_run
    return here.task_run.name if here is not None else None


def get_task_name() -> str | None:
    """Return the name of the task."""
    here = current().shown_task_run
    return here.task_run.task_name if here is not None else None


def get_parameters() -> dict[str, Any]:
    """Return the parameters of the task run, every future in them replaced by its value."""
    here = current().shown_task_run
    return dict(here.parameters) if here is not None else {}


_attributes = Attributes(
    "task_run",
    {
        "id": (str, get_id),
        "tags": (list, get_tags),
        "name": (str, get_name),
        "parameters": (dict, get_parameters),
        "run_count": (int, get_run_count),
        "task_name": (str, get_task_name),
    },
)
__getattr__ = _attributes.get


def __dir__() -> list[str]:
    return sorted(__all__)
