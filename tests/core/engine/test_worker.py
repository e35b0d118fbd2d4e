"""What the shim of a worker does for a call, and what it leaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowyard import task
from flowyard.engine.worker import WorkerScope, WorkerShim
from flowyard.exceptions import TaskTimedOut
from flowyard.schemas.runs import utcnow
from flowyard.testing.runners import make_call


def double(x: int) -> int:
    return 2 * x


def test_for_a_task_that_calls_no_other_nothing_is_made_that_only_those_need(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    whole = WorkerScope._make_whole  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(WorkerScope, "_make_whole", lambda scope, used: (made.append(scope), whole(scope, used)))
    outcome = WorkerShim().execute(make_call(double, x=21).call)
    assert outcome.state.result() == 42
    assert not made


def busy() -> None:
    while True:
        time.sleep(0.001)


def calls_busy() -> None:
    task(busy)()


async def is_told_first_by_what_it_called() -> None:
    time.sleep(0.2)  # noqa: ASYNC251  the loop is blocked: its timer comes later
    raise TaskTimedOut("Flow", 5.0)


@pytest.mark.parametrize("fn", [busy, calls_busy, is_told_first_by_what_it_called])
def test_a_call_that_its_flows_time_ends_names_the_timeout_that_the_user_set(fn: Callable[..., Any]) -> None:
    call = make_call(fn).call
    deadline = utcnow() + timedelta(seconds=0.1)
    call.context = replace(call.context, deadline=deadline, flow_timeout_seconds=5.0)
    call.spec = replace(call.spec, timeout_seconds=60)
    shim = WorkerShim()
    state = (asyncio.run(shim.execute_async(call)) if call.spec.is_async else shim.execute(call)).state
    assert (state.name, state.message) == ("TimedOut", "Flow run exceeded timeout of 5.0 seconds")
    with pytest.raises(TimeoutError, match=r"5\.0 seconds$"):
        state.result()
