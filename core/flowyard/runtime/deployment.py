"""The deployment whose flow run executes here; None or empty when there is none.

`name`, `version` and `parameters` are read from the state backend.
"""

from __future__ import annotations

from typing import Any, NoReturn
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.runtime.attributes import Attributes, find_flow_run, find_flow_run_id

id: str | None
flow_run_id: str | None
name: str | None
parameters: dict[str, Any]
version: str | None

__all__ = ["flow_run_id", "id", "name", "parameters", "version"]


def get_id() -> str | None:
    """Return the id of the deployment."""
    found = _deployment_id()
    return str(found) if found is not None else None


def get_flow_run_id() -> str | None:
    """Return the id of the flow run."""
    return find_flow_run_id()


def get_name() -> str | None:
    """Return the name of the deployment."""
    found = _deployment_id()
    return None if found is None else _refuse(found)


def get_version() -> str | None:
    """Return the version of the deployment."""
    found = _deployment_id()
    return None if found is None else _refuse(found)


def get_parameters() -> dict[str, Any]:
    """Return the parameters that the deployment gives to its runs."""
    found = _deployment_id()
    return {} if found is None else _refuse(found)


def _deployment_id() -> UUID | None:
    flow_run = find_flow_run()
    return flow_run.deployment_id if flow_run is not None else None


def _refuse(deployment_id: UUID) -> NoReturn:
    # No state backend of this version keeps deployments, so this one was never stored here.
    raise ObjectNotFound("deployment", deployment_id)


_attributes = Attributes(
    "deployment",
    {
        "id": (str, get_id),
        "flow_run_id": (str, get_flow_run_id),
        "name": (str, get_name),
        "parameters": (dict, get_parameters),
        "version": (str, get_version),
    },
)
__getattr__ = _attributes.get


def __dir__() -> list[str]:
    return sorted(__all__)
