"""Where a flow's code is, and how to load it from there."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeGuard

from flowyard.context import current, entered
from flowyard.exceptions import MissingFlowError, ScriptError, UnspecifiedFlowError
from flowyard.schemas.runs import StartInfo


class LoadedFlow(Protocol):
    """What loading gives: a `flows.Flow`, which is above this module."""

    name: str
    fn: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the flow."""
        ...


def start_info(fn: Callable[..., Any]) -> StartInfo:
    """Return how a run of a flow function can be started again; empty where the code has no file (a notebook)."""
    function = inspect.unwrap(fn)
    code = getattr(function, "__code__", None)
    path = Path(code.co_filename) if code is not None else None
    if path is None or not path.is_file():
        return StartInfo(working_directory=os.getcwd())
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = ""
    return StartInfo(
        entrypoint=f"{path}:{getattr(function, '__qualname__', function)}",
        source_hash=hashlib.sha256(source.encode()).hexdigest() if source else None,
        working_directory=os.getcwd(),
    )


def load_flow_from_entrypoint(entrypoint: str) -> LoadedFlow:
    """Load a flow from `path/to/file.py:function` or `package.module:function`; its `__main__` block does not run.

    Raises:
        MissingFlowError: the module has no flow of that name.
        ScriptError: the module raised while it was loaded.
        ValueError: the text has no `:` in it.
    """
    where, colon, name = entrypoint.rpartition(":")
    if not colon:
        raise ValueError(f"entrypoint {entrypoint!r} must be `path/to/file.py:function` or `package.module:function`")
    module = _load_script(where) if where.endswith(".py") or os.sep in where else _import_module(where)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not _is_flow(found):
        names = ", ".join(sorted(key for key, value in vars(module).items() if _is_flow(value))) or "none"
        raise MissingFlowError(f"{where!r} has no flow named {name!r}; its flows: {names}")
    return found


def load_flows_from_script(path: str) -> list[LoadedFlow]:
    """Load a script and return its flows, in the order in which they are defined.

    Raises:
        ScriptError: the script raised while it was loaded.
    """
    flows: list[LoadedFlow] = []
    for value in vars(_load_script(path)).values():
        if _is_flow(value) and value not in flows:
            flows.append(value)
    return flows


def load_flow_from_script(path: str, flow_name: str | None = None) -> LoadedFlow:
    """Load one flow of a script; `flow_name` may be left away when there is only one.

    Raises:
        MissingFlowError: there is no flow, or none of that name.
        UnspecifiedFlowError: there are several, and none was named.
        ScriptError: the script raised while it was loaded.
    """
    return select_flow(load_flows_from_script(path), flow_name, from_message=f"found in script {path!r}")


def select_flow(
    flows: Iterable[LoadedFlow], flow_name: str | None = None, from_message: str | None = None
) -> LoadedFlow:
    """Return the flow of that name, or the only one.

    Raises:
        MissingFlowError: there is none (of that name).
        UnspecifiedFlowError: there are several, and none was named.
    """
    by_name = {flow.name: flow for flow in flows}
    where = f" {from_message}" if from_message else ""
    if not by_name:
        raise MissingFlowError(f"no flows{where}; a flow is a function with `@flow`")
    known = ", ".join(sorted(by_name))
    if flow_name is not None:
        if flow_name not in by_name:
            raise MissingFlowError(f"flow {flow_name!r} was not{where or ' found'}; there are: {known}")
        return by_name[flow_name]
    if len(by_name) > 1:
        raise UnspecifiedFlowError(f"several flows{where}: {known}; name the one to use")
    return next(iter(by_name.values()))


def _is_flow(value: object) -> TypeGuard[LoadedFlow]:
    # By its shape: this module is below `flows`, which imports it.
    return type(value).__name__ == "Flow" and hasattr(value, "fn") and hasattr(value, "task_runner")


def _load_script(path: str) -> ModuleType:
    file = Path(path).resolve()
    if not file.is_file():
        raise MissingFlowError(f"there is no file {path!r}")
    # Not `__main__`: its guarded block must not run. The name is kept, so that pickles of its classes find them.
    spec = importlib.util.spec_from_file_location(f"__flowyard_loader_{file.stem}__", file)
    if spec is None or spec.loader is None:
        raise MissingFlowError(f"{path!r} is not a Python script")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    folders = [str(file.parent), os.getcwd()]
    sys.path[:0] = folders
    try:
        with entered(replace(current(), is_loading=True)):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise ScriptError(error, str(path)) from error
    finally:
        for folder in folders:
            sys.path.remove(folder)
    return module


def _import_module(name: str) -> ModuleType:
    try:
        with entered(replace(current(), is_loading=True)):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise MissingFlowError(f"there is no module {name!r} on the import path") from error
        raise ScriptError(error, name) from error
    except Exception as error:
        raise ScriptError(error, name) from error
