"""Module attributes that are looked up when they are read, and can be given by the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flowyard.context import current
from flowyard.ports import ControlPlane
from flowyard.process.backends import PROCESS
from flowyard.schemas.runs import FlowRun

FLOW_RUN_ID_VARIABLE = "FLOWYARD__FLOW_RUN_ID"
_TRUE = ("true", "t", "yes", "y", "on", "1")


class Attributes:
    """The attributes of one module of `flowyard.runtime`; its `get` is the module's `__getattr__`.

    A variable `FLOWYARD__RUNTIME__<MODULE>__<NAME>` replaces the value of an attribute, in the attribute's type, and
    makes attributes of other names up, as text: so that tests need no run.
    """

    def __init__(self, module: str, getters: Mapping[str, tuple[type, Callable[[], Any]]]) -> None:
        self._module = module
        self._getters = getters

    def get(self, name: str) -> Any:
        """Return the present value of an attribute.

        Raises:
            AttributeError: there is no such attribute.
            ValueError: a variable gives a value that is not of the attribute's type.
        """
        kind, getter = self._getters.get(name, (str, None))
        variable = f"FLOWYARD__RUNTIME__{self._module.upper()}__{name.upper()}"
        given = os.environ.get(variable)
        if given is not None:
            return _cast(variable, given, kind)
        if getter is None:
            raise AttributeError(
                f"flowyard.runtime.{self._module} has no attribute {name!r}; it has {', '.join(self._getters)}"
            )
        return getter()


def _cast(variable: str, text: str, kind: type) -> Any:
    try:
        if kind is bool:
            return text.lower() in _TRUE
        if kind is datetime:
            time = datetime.fromisoformat(text)
            return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        if kind in (int, float, str):
            return kind(text)
    except ValueError as error:
        raise ValueError(f"{variable}={text!r} cannot be read as {kind.__name__}: {error}") from error
    raise ValueError(f"{variable}={text!r} cannot stand for a {kind.__name__}; use monkeypatch.setattr instead")


def control() -> ControlPlane:
    """Return the control plane of the present settings, opened if it is not."""
    return PROCESS.backend().control


def find_flow_run_id() -> str | None:
    """Return the id of the flow run that executes here, or for which this process was started."""
    here = current()
    if here.flow_run is not None:
        return str(here.flow_run.flow_run.id)
    if here.task_run is not None and here.task_run.task_run.flow_run_id is not None:
        return str(here.task_run.task_run.flow_run_id)
    return os.environ.get(FLOW_RUN_ID_VARIABLE) or None


def find_flow_run() -> FlowRun | None:
    """Return the flow run that executes here, else read the one whose id is known; None when none is.

    Raises:
        ValueError: the variable with the id of the run holds something else.
        ObjectNotFound: the state backend does not have that run.
    """
    here = current()
    if here.flow_run is not None:
        return here.flow_run.flow_run
    found = find_flow_run_id()
    if found is None:
        return None
    try:
        flow_run_id = UUID(found)
    except ValueError as error:
        raise ValueError(f"{FLOW_RUN_ID_VARIABLE}={found!r} is not the id of a flow run: {error}") from error
    return control().read_flow_run(flow_run_id)
