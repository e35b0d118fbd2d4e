"""Calls that run on a worker and are cancelled: Python code is stopped, and the worker is free again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from flowyard.task_runners.base import TaskCall
from flowyard.testing.runners import make_call, outcome_of
from flowyard.testing.workloads import arrive, await_arrival, identity, meet, meet_async
from flowyard_dask import DaskTaskRunner


def sleep_in_pieces(folder: str) -> None:
    arrive(folder, "begun")
    while True:
        time.sleep(0.001)


@pytest.fixture(params=["threads", "processes"])
def runner(request: pytest.FixtureRequest) -> DaskTaskRunner:
    cluster: LocalCluster = request.getfixturevalue(request.param)
    return DaskTaskRunner(cluster=cluster)


@pytest.mark.parametrize("timeout", [None, 90.0])
@pytest.mark.parametrize("fn", [meet, meet_async])
def test_a_running_call_is_stopped(
    runner: DaskTaskRunner, tmp_path: Path, fn: Callable[..., Any], timeout: float | None
) -> None:
    call: TaskCall = make_call(fn, folder=str(tmp_path), me="begun", other="nobody").call
    call.spec = replace(call.spec, timeout_seconds=timeout)
    with runner.start():
        handle = runner.submit(call)
        await_arrival(str(tmp_path), "begun")
        assert runner.cancel(handle) is False  # not at once: its outcome will say how it ended
        state = outcome_of(handle).state
        assert (state.name, state.message) == ("Cancelled", "The task was cancelled while it ran.")
        # Both places are free again.
        both = [make_call(meet, folder=str(tmp_path), me=me, other=other).call for me, other in ("ab", "ba")]
        assert all(outcome_of(each).state.is_completed() for each in runner.submit_many(both))


def test_of_a_chunk_the_running_call_is_stopped_and_those_behind_it_go_on(
    runner: DaskTaskRunner, tmp_path: Path
) -> None:
    calls = [make_call(sleep_in_pieces, folder=str(tmp_path)).call, *(make_call(identity, x=n).call for n in range(3))]
    with runner.start():
        first, second, *others = runner.submit_batch([(call, None) for call in calls])
        await_arrival(str(tmp_path), "begun")
        assert runner.cancel_many([first, second]) == [False, True]
        assert [outcome_of(each).state.name for each in (first, second)] == ["Cancelled"] * 2
        assert [outcome_of(each).state.name for each in others] == ["Completed"] * 2


def test_what_is_withdrawn_goes_on_if_it_has_begun(runner: DaskTaskRunner, tmp_path: Path) -> None:
    with runner.start():
        handle = runner.submit(make_call(meet, folder=str(tmp_path), me="begun", other="release").call)
        await_arrival(str(tmp_path), "begun")
        runner.withdraw_many([handle])
        arrive(str(tmp_path), "release")
        assert outcome_of(handle).state.is_completed()
