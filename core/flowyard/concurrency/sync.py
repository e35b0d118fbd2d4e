"""`concurrency` and `rate_limit` for functions that block."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

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


@contextmanager
def concurrency(names: str | Sequence[str], occupy: int = 1, timeout_seconds: float | None = None) -> Generator[None]:
    """Hold slots of one or several concurrency limits in a block, all or none of them.

    Waits for them in the order of asking. A task that waits gives its place in the runner to another one. Names
    without a limit, and limits that are not active, let everybody pass. Slots of a process that dies, and of a worker
    that is lost, come back.

    Args:
        names: the limits, made by `flowyard gcl create`.
        occupy: slots of each.
        timeout_seconds: how long to wait; None for ever.

    Raises:
        AcquireConcurrencySlotTimeoutError: they were not free in time.
        ConcurrencySlotAcquisitionError: they can never be granted; says why.
    """
    wait = SlotWait(names, occupy, SlotMode.CONCURRENCY, timeout_seconds)
    _wait_blocking(wait)
    try:
        yield
    finally:
        wait.release()


def rate_limit(names: str | Sequence[str], occupy: int = 1, timeout_seconds: float | None = None) -> None:
    """Wait until slots of limits whose slots come back by themselves are free, and take them.

    Args:
        names: the limits, made by `flowyard gcl create --slot-decay-per-second`.
        occupy: slots of each.
        timeout_seconds: how long to wait; None for ever.

    Raises:
        AcquireConcurrencySlotTimeoutError: they were not free in time.
        ConcurrencySlotAcquisitionError: they can never be granted; says why.
    """
    _wait_blocking(SlotWait(names, occupy, SlotMode.RATE_LIMIT, timeout_seconds))


def _wait_blocking(wait: SlotWait) -> None:
    freed = threading.Event()
    pause = wait.ask(freed.set)
    if pause is None:
        return
    task_run = current().task_run
    place = task_run.slot if task_run is not None else None
    if place is not None:
        place.release()
    try:
        while pause is not None:
            freed.wait(pause)
            freed.clear()
            pause = wait.ask(freed.set)
    except AcquireConcurrencySlotTimeoutError:
        raise
    except BaseException:
        wait.leave()
        raise
    finally:
        if place is not None:
            place.acquire()
