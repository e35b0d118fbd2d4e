"""Calling a user's function whatever its colour: hooks and conditions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from typing_extensions import override

from flowyard.aio import asyncio, running_loop
from flowyard.context import RunContext, entered
from flowyard.engine.effects import Effect, Raised


class Invoke(Effect[Any]):
    """Call a sync or async function in a run context; gives its value or `Raised`.

    A sync function called from async steps runs in a thread, so that a hook that posts to a chat does not stop the
    loop.
    """

    __slots__ = ("args", "context", "fn")

    def __init__(self, context: RunContext, fn: Callable[..., Any], args: Sequence[Any]) -> None:
        self.context = context
        self.fn = fn
        self.args = args

    @override
    def block(self) -> Any:
        try:
            with entered(self.context):
                value = self.fn(*self.args)
                return _run_to_end(value) if inspect.isawaitable(value) else value
        except Exception as error:
            return Raised(error)

    @override
    async def perform(self) -> Any:
        try:
            with entered(self.context):
                if inspect.iscoroutinefunction(self.fn):
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
        return pool.submit(asyncio.run, wait()).result()
