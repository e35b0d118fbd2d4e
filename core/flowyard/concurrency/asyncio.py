"""`concurrency` and `rate_limit` for async functions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager

from flowyard.concurrency.waiting import SlotWait
from flowyard.context import current
from flowyard.exceptions import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError
from flowyard.schemas.limits import SlotMode

__all__ = [
    "AcquireConcurrencySlotTimeoutError",
    "ConcurrencySlotAcquisitionError",
    "concurrency",
    "rate_limit",
]


@asynccontextmanager
async def concurrency(
    names: str | Sequence[str], occupy: int = 1, timeout_seconds: float | None = None
) -> AsyncGenerator[None]:
    """Hold slots of one or several concurrency limits in a block; see `flowyard.concurrency.sync.concurrency`.

    Raises:
        AcquireConcurrencySlotTimeoutError: they were not free in time.
        ConcurrencySlotAcquisitionError: they can never be granted; says why.
    """
    wait = await asyncio.to_thread(SlotWait, names, occupy, SlotMode.CONCURRENCY, timeout_seconds)
    await _wait_async(wait)
    try:
        yield
    finally:
        # Not cut short: whoever is cancelled in the block still gives its slots back.
        await asyncio.shield(asyncio.to_thread(wait.release))


async def rate_limit(names: str | Sequence[str], occupy: int = 1, timeout_seconds: float | None = None) -> None:
    """Wait until slots that come back by themselves are free; see `flowyard.concurrency.sync.rate_limit`.

    Raises:
        AcquireConcurrencySlotTimeoutError: they were not free in time.
        ConcurrencySlotAcquisitionError: they can never be granted; says why.
    """
    wait = await asyncio.to_thread(SlotWait, names, occupy, SlotMode.RATE_LIMIT, timeout_seconds)
    await _wait_async(wait)


async def _wait_async(wait: SlotWait) -> None:
    loop = asyncio.get_running_loop()
    freed = asyncio.Event()

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(freed.set)

    task_run = current().task_run
    place = task_run.slot if task_run is not None else None
    gave_place_up = False
    try:
        while (pause := await _ask(wait, wake)) is not None:
            if place is not None and not gave_place_up:
                place.release()
                gave_place_up = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(freed.wait(), pause)
            freed.clear()
    except AcquireConcurrencySlotTimeoutError:
        raise
    except BaseException:
        await asyncio.shield(asyncio.to_thread(wait.leave))
        raise
    finally:
        if place is not None and gave_place_up:
            await place.acquire_async()


async def _ask(wait: SlotWait, wake: Callable[[], None]) -> float | None:
    asking = asyncio.ensure_future(asyncio.to_thread(wait.ask, wake))
    try:
        return await asyncio.shield(asking)
    except asyncio.CancelledError:
        # The question is on its way to the ledger: what it is granted must be there before it can be given back.
        with contextlib.suppress(Exception):
            await asking
        raise
