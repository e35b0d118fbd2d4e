"""The flow run that executes here, attribute by attribute; outside of runs None, 0, or empty.

In a process that was started for a flow run (`FLOWYARD__FLOW_RUN_ID`) the values come from the state backend.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flowyard.context import current
from flowyard.runtime.attributes import Attributes, control, find_flow_run, find_flow_run_id
from flowyard.schemas.runs import FlowRun
from flowyard.settings import get_current_settings

id: str | None
tags: list[str]
scheduled_start_time: datetime | None
name: str | None
flow_name: str | None
flow_version: str | None
parameters: dict[str, Any]
parent_flow_run_id: str | None
parent_deployment_id: str | None
run_count: int
api_url: str | None
ui_url: str | None

__all__ = [
    "api_url",
    "flow_name",
    "flow_version",
    "id",
    "name",
    "parameters",
    "parent_deployment_id",
    "parent_flow_run_id",
    "run_count",
    "scheduled_start_time",
    "tags",
    "ui_url",
]


def get_id() -> str | None:
    """Return the id of the flow run."""
    return find_flow_run_id()


def get_tags() -> list[str]:
    """Return the tags of the flow run."""
    flow_run = find_flow_run()
    return list(flow_run.tags) if flow_run is not None else []


def get_run_count() -> int:
    """Return how many times the flow run has been started, this time included."""
    flow_run = find_flow_run()
    return flow_run.run_count if flow_run is not None else 0


def get_name() -> str | None:
    """Return the name of the flow run."""
    flow_run = find_flow_run()
    return flow_run.name if flow_run is not None else None


def get_flow_name() -> str | None:
    """Return the name of the flow."""
    here = current().flow_run
    if here is not None and here.flow is not None:
        return here.flow.name
    flow_run = find_flow_run()
    if flow_run is None:
        return None
    return flow_run.flow_name or control().read_flow(flow_run.flow_id).name


def get_flow_version() -> str | None:
    """Return the version of the flow."""
    here = current().flow_run
    if here is not None and here.flow is not None:
        return here.flow.version
    flow_run = find_flow_run()
    return flow_run.flow_version if flow_run is not None else None


def get_scheduled_start_time() -> datetime | None:
    """Return when the flow run was to start; when it was created, if it had no schedule."""
    flow_run = find_flow_run()
    return (flow_run.expected_start_time or flow_run.created) if flow_run is not None else None


def get_parameters() -> dict[str, Any]:
    """Return the parameters of the flow run: values in the run, what was recorded of them elsewhere."""
    here = current().flow_run
    if here is not None:
        return dict(here.parameters)
    flow_run = find_flow_run()
    return dict(flow_run.parameters) if flow_run is not None else {}


def _parent() -> FlowRun | None:
    flow_run = find_flow_run()
    if flow_run is None or flow_run.parent_task_run_id is None:
        return None
    parent_id = control().read_task_run(flow_run.parent_task_run_id).flow_run_id
    return control().read_flow_run(parent_id) if parent_id is not None else None


def get_parent_flow_run_id() -> str | None:
    """Return the id of the flow run that called this one as a subflow."""
    parent = _parent()
    return str(parent.id) if parent is not None else None


def get_parent_deployment_id() -> str | None:
    """Return the id of the deployment of the flow run that called this one as a subflow."""
    parent = _parent()
    return str(parent.deployment_id) if parent is not None and parent.deployment_id is not None else None


def get_flow_run_api_url() -> str | None:
    """Return the address of the flow run in the API; None without a server."""
    return _url(get_current_settings().FLOWYARD_API_URL)


def get_flow_run_ui_url() -> str | None:
    """Return the address of the flow run in the dashboard; None without a server."""
    return _url(get_current_settings().FLOWYARD_UI_URL)


def _url(base: str | None) -> str | None:
    flow_run_id = find_flow_run_id()
    if base is None or flow_run_id is None:
        return None
    return f"{base.rstrip('/')}/flow-runs/flow-run/{flow_run_id}"


_attributes = Attributes(
    "flow_run",
    {
        "id": (str, get_id),
        "tags": (list, get_tags),
        "scheduled_start_time": (datetime, get_scheduled_start_time),
        "name": (str, get_name),
        "flow_name": (str, get_flow_name),
        "flow_version": (str, get_flow_version),
        "parameters": (dict, get_parameters),
        "parent_flow_run_id": (str, get_parent_flow_run_id),
        "parent_deployment_id": (str, get_parent_deployment_id),
        "run_count": (int, get_run_count),
        "api_url": (str, get_flow_run_api_url),
        "ui_url": (str, get_flow_run_ui_url),
    },
)
__getattr__ = _attributes.get


def __dir__() -> list[str]:
    return sorted(__all__)
