"""Task runners by name: built-in ones and add-ons are found through the same entry points."""

from __future__ import annotations

from typing import cast

from flowyard.exceptions import UnknownPlugin
from flowyard.task_runners.base import TaskRunner
from flowyard.task_runners.concurrent import ConcurrentTaskRunner

GROUP = "flowyard.task_runners"
_ADD_ONS = {"dask": "flowyard-dask", "ray": "flowyard-ray"}


def resolve_task_runner(runner: object) -> TaskRunner | str | None:
    """Return a runner that was given as an object or a class; a name stays one, and is looked up when it is used.

    Raises:
        TypeError: it is something else.
    """
    if runner is None or isinstance(runner, (TaskRunner, str)):
        return runner
    if isinstance(runner, type) and issubclass(runner, TaskRunner):
        return runner()
    raise TypeError(
        f"task_runner={runner!r} must be a task runner, such as `ConcurrentTaskRunner()`, its class, or the name of one"
    )


def task_runner_named(name: str) -> TaskRunner:
    """Return a new runner with default options.

    Raises:
        UnknownPlugin: there is none of that name; lists those that are installed.
    """
    if name == "concurrent":
        # The default of every flow: looking entry points up reads the metadata of all packages (20 ms).
        return ConcurrentTaskRunner()
    from importlib.metadata import entry_points  # noqa: PLC0415  15 ms, which the default runner does not need

    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in found:
        add_on = _ADD_ONS.get(name)
        hint = f"install {add_on} for {name.capitalize()}" if add_on else ""
        raise UnknownPlugin("task runner", name, tuple(sorted(found)), hint)
    return cast("type[TaskRunner]", found[name].load())()
