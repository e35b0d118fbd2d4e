"""Calling a user's function whatever its colour: hooks and conditions."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from typing_extensions import override

from flowyard.aio import asyncio, running_loop
from flowyard.context import HookContext, RunContext, TaskRunContext, entered
from flowyard.engine.effects import Effect, Raised


class Invoke(Effect[Any]):
    """Call a sync or async function in a run context; gives its value or `Raised`.

    A sync function called from async steps runs in a thread, so that a hook that posts to a chat does not stop the
    loop. What has both colours goes by the function's own there, not by that of the run. `task_run` is the one that
    a task's hook is about.
    """

    __slots__ = ("args", "context", "fn", "is_async", "task_run")

    def __init__(
        self, context: RunContext, fn: Callable[..., Any], args: Sequence[Any], task_run: TaskRunContext | None = None
    ) -> None:
        self.context = context
        self.fn = fn
        self.args = args
        self.task_run = task_run
        self.is_async = inspect.iscoroutinefunction(fn)

    def _context(self, loop: Any) -> RunContext:
        return replace(self.context, hook=HookContext(self.is_async, loop, self.task_run))

    @override
    def block(self) -> Any:
        try:
            with entered(self._context(running_loop())):
                value = self.fn(*self.args)
                return _run_to_end(value) if inspect.isawaitable(value) else value
        except Exception as error:
            return Raised(error)

    @override
    async def perform(self) -> Any:
        try:
            with entered(self._context(None)):
                if self.is_async:
                    return await self.fn(*self.args)
                value = await asyncio.to_thread(self.fn, *self.args)
                return await value if inspect.isawaitable(value) else value
        except Exception as error:
            return Raised(error)


def _run_to_end(awaitable: Any) -> Any:
    """Run an awaitable in this thread, or in one of its own when a loop is running here already."""

    async def wait() -> Any:
        return await awaitable

    if running_loop() is None:
        return asyncio.run(wait())
    import concurrent.futures  # noqa: PLC0415  a notebook with an async hook: rare

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, asyncio.run, wait()).result()


def by_name(hook: Callable[..., Any], arguments: Mapping[str, Any]) -> Callable[..., Any]:
    """Return what calls a hook with these arguments: by name where it takes them so, in any order, else in order."""
    try:
        inspect.signature(hook).bind(**arguments)
    except (TypeError, ValueError):  # other names; or it does not tell them (some that are written in C)
        return partial(hook, *arguments.values())
    return partial(hook, **arguments)
