"""Functions that are stopped from another thread."""

from __future__ import annotations

import asyncio
import inspect
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from flowyard.context import RunContext
from flowyard.engine.drivers import run_async, run_blocking
from flowyard.engine.effects import Call, Raised
from flowyard.process.interrupts import StopSwitch


def busy() -> None:
    while True:
        time.sleep(0.001)


async def sleepy() -> None:
    await asyncio.sleep(90)


def endless() -> Any:
    while True:
        time.sleep(0.001)
        yield 1


def outcome_of(fn: Callable[[], Any], switch: StopSwitch, timeout: float | None = None) -> Any:
    async def steps() -> Any:
        return await Call(RunContext(None, None, frozenset()), fn, timeout=timeout, stop=switch)

    return asyncio.run(run_async(steps())) if inspect.iscoroutinefunction(fn) else run_blocking(steps())


def is_cancelled(outcome: Any) -> bool:
    return isinstance(outcome, Raised) and isinstance(outcome.error, asyncio.CancelledError)


@pytest.mark.parametrize("timeout", [None, 90.0])
@pytest.mark.parametrize("fn", [busy, sleepy, endless])
@pytest.mark.parametrize("delay", [0.0, 0.1])
def test_a_function_is_stopped(fn: Callable[[], Any], timeout: float | None, delay: float) -> None:
    switch = StopSwitch()
    stopper = threading.Timer(delay, switch.stop)
    if delay:
        stopper.start()
    else:
        switch.stop()
    assert is_cancelled(outcome_of(fn, switch, timeout))


# One that comes while Python runs the callback of a weak reference goes nowhere, as every exception there.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("timeout", [None, 90.0])
def test_nothing_that_comes_after_the_function_is_stopped(timeout: float | None) -> None:
    """The stop comes when the function is just about to end, before or after that."""
    stopped = 0
    stops = threading.Semaphore(0)
    switches: list[StopSwitch] = []
    pauses = random.Random(7)

    def stop_all() -> None:
        while stops.acquire():
            if not switches:
                return
            switch = switches.pop()
            for _ in range(pauses.randrange(30)):
                pass
            switch.stop()

    def short() -> int:
        return sum(range(60))

    thread = threading.Thread(target=stop_all)
    thread.start()
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(3_000):
            switch = StopSwitch()
            switches.append(switch)
            stops.release()
            outcome = outcome_of(short, switch, timeout)
            stopped += is_cancelled(outcome)
            assert is_cancelled(outcome) or outcome == sum(range(60))
            sum(range(100))  # what a worker does next in this thread
    finally:
        sys.setswitchinterval(usual)
        stops.release()
        thread.join()
    assert stopped, "no stop came while a function ran: this proves nothing"


def test_a_function_is_stopped_once() -> None:
    switch = StopSwitch()

    def catches() -> str:
        try:
            busy()
        except asyncio.CancelledError:
            switch.stop()
            time.sleep(0.01)
        return "caught"

    threading.Timer(0.05, switch.stop).start()
    assert outcome_of(catches, switch) == "caught"
