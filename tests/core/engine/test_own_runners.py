"""Runners that single tasks of an async flow ask for, and what their start holds up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from typing_extensions import override

from flowyard.flows import flow
from flowyard.task_runners.concurrent import ConcurrentTaskRunner
from flowyard.task_runners.sequential import SequentialTaskRunner
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness

_PATIENCE_SECONDS = 20


@pytest.fixture(autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


class SlowToStart(SequentialTaskRunner):
    """Starts when it is told to."""

    def __init__(self, begun: threading.Event, may_start: threading.Event) -> None:
        super().__init__()
        self.begun = begun
        self.may_start = may_start

    @override
    def options(self) -> dict[str, Any]:
        return {"begun": self.begun, "may_start": self.may_start}

    @override
    def _start(self, stack: ExitStack) -> None:
        self.begun.set()
        assert self.may_start.wait(_PATIENCE_SECONDS), "the event loop was held up"


async def _until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, _PATIENCE_SECONDS)


@task
async def one() -> int:
    return 1


@task
def two() -> int:
    return 2


def test_a_runner_that_runs_takes_calls_while_a_direct_call_starts_another() -> None:
    begun, may_start = threading.Event(), threading.Event()
    running = ConcurrentTaskRunner(max_workers=3)

    @flow
    async def calls() -> list[int]:
        before = two.submit(task_runner=running).result()
        slow = asyncio.create_task(one.with_options(task_runner=SlowToStart(begun, may_start))())
        await _until(begun)
        beside = two.submit(task_runner=running).result()
        may_start.set()
        return [before, beside, await slow]

    assert asyncio.run(calls()) == [2, 2, 1]


def test_a_submission_from_a_thread_starts_its_runner_without_the_event_loop() -> None:
    begun, may_start = threading.Event(), threading.Event()
    slow = SlowToStart(begun, may_start)

    @flow
    async def calls() -> list[int]:
        submitting = asyncio.create_task(asyncio.to_thread(two.submit, task_runner=slow))
        await _until(begun)
        may_start.set()
        first = await submitting
        return [first.result(), await one.submit(task_runner=slow).result()]

    assert asyncio.run(calls()) == [2, 1]
