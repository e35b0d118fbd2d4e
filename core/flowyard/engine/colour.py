"""Whether a call returns an awaitable: the one module that asks who is calling.

The colour of a function is fixed where it is defined. A sync flow or task blocks, whoever calls it. An async one
returns an awaitable; only inside a sync flow or task, which has no way to await, it runs to its end and its value is
returned.
"""

from __future__ import annotations

import asyncio

from flowyard.context import current


def returns_awaitable(is_async: bool) -> bool:
    """Say whether a call of a flow or task of the given colour, made here, returns an awaitable."""
    if not is_async:
        return False
    here = current()
    run = here.task_run or here.flow_run
    if run is None:
        return True
    loop = asyncio._get_running_loop()  # pyright: ignore[reportPrivateUsage]  no exception where there is none
    if run.is_async:
        # In a helper thread of an async run there is no loop, and nobody could await.
        return loop is not None
    # A sync run can start a loop of its own (`asyncio.run` in a sync flow); what is called in there is awaited. The
    # loop of a notebook was there before.
    return loop is not None and loop is not run.entry_loop
