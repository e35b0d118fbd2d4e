"""Code that sync and async callers share: the one module that asks who is calling.

The colour of a function is fixed where it is defined. A sync flow or task blocks, whoever calls it. An async one
returns an awaitable; only inside a sync flow or task, which has no way to await, it runs to its end and its value is
returned. The helpers that have both colours (`sync_compatible`, `dual`) go by the running flow or task too.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, cast

from flowyard.aio import asyncio, running_loop
from flowyard.context import current

P = ParamSpec("P")
T = TypeVar("T")


def returns_awaitable(is_async: bool) -> bool:
    """Say whether a call of a flow or task of the given colour, made here, returns an awaitable."""
    if not is_async:
        return False
    here = current()
    run = here.colour
    if run is None:
        return True
    loop = running_loop()
    if run.is_async:
        # In a helper thread of an async run there is no loop, and nobody could await.
        return loop is not None
    # A sync run can start a loop of its own (`asyncio.run` in a sync flow); what is called in there is awaited. The
    # loop of a notebook was there before.
    return loop is not None and loop is not run.entry_loop


def sync_compatible(async_fn: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Any]:
    """Make an async function one that blocks when sync code calls it.

    Inside a run the colour of the running flow or task decides: in an async one the call returns an awaitable, in a
    sync one the value. Outside of runs an awaitable is returned where an event loop is running. ``_sync=True`` (or
    False) in the call overrides that; the async original is the attribute ``aio``.

    Raises:
        TypeError: the function is not async.
    """
    if not inspect.iscoroutinefunction(inspect.unwrap(async_fn)):
        raise TypeError(f"sync_compatible is for `async def` functions, not for {async_fn!r}")

    @functools.wraps(async_fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        blocks = cast("bool | None", cast("dict[str, Any]", kwargs).pop("_sync", None))
        if blocks is None:
            blocks = not _is_awaited_here()
        coroutine = async_fn(*args, **kwargs)
        return run_sync(coroutine) if blocks else coroutine

    # The wrapper is no async function, though what it wraps is: `inspect` and `is_async_fn` must not be told otherwise.
    del call.__wrapped__
    cast("Any", call).aio = async_fn
    return call


def dual(blocking: Callable[P, T]) -> Callable[P, Any]:
    """Make a blocking function one that async code awaits: what `sync_compatible` does, from the other end.

    Sync code pays for no event loop. Async code gets an awaitable that runs the function in a thread; its attribute
    ``aio`` always returns one.
    """

    @functools.wraps(blocking)
    async def aio(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(blocking, *args, **kwargs)

    @functools.wraps(blocking)
    def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        blocks = cast("bool | None", cast("dict[str, Any]", kwargs).pop("_sync", None))
        if blocks is None:
            blocks = not _is_awaited_here()
        return blocking(*args, **kwargs) if blocks else aio(*args, **kwargs)

    cast("Any", call).aio = aio
    return call


def _is_awaited_here() -> bool:
    here = current()
    if here.flow_run is None and here.task_run is None:
        return in_async_main_thread()
    return returns_awaitable(is_async=True)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine and block until it ends, wherever this is called.

    Where an event loop is running in this thread (a notebook), the coroutine gets a thread and a loop of its own, and
    the running loop stands still meanwhile.
    """
    if not in_async_main_thread():
        return asyncio.run(coroutine)
    outcome: list[T] = []
    error: list[BaseException] = []
    context = contextvars.copy_context()

    def work() -> None:
        try:
            outcome.append(context.run(asyncio.run, coroutine))
        except BaseException as caught:
            error.append(caught)

    thread = threading.Thread(target=work, name="flowyard-run-sync", daemon=True)
    thread.start()
    thread.join()
    if error:
        raise error[0]
    return outcome[0]


def in_async_main_thread() -> bool:
    """Say whether an event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
