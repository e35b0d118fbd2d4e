"""Calls that run on a worker and are cancelled: Python code is stopped, and the worker is free again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

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


_KILLED = """
import sys
from flowyard import flow, task
from flowyard.testing.workloads import meet
from flowyard_dask import DaskTaskRunner

@task
def work(name, folder):
    meet(folder, name, "nobody")

@flow(task_runner=DaskTaskRunner(address=sys.argv[1]))
def run():
    work.submit("alone", sys.argv[2])
    work.map(["first", "second"], sys.argv[2], batch_size=2)

run()
"""


def test_what_a_killed_flow_has_left_on_the_workers_is_stopped(external: Any, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_KILLED)
    environment = {**os.environ, "FLOWYARD_HOME": str(tmp_path / "home")}
    flow = subprocess.Popen([sys.executable, str(script), external.address, str(tmp_path)], env=environment)
    try:
        await_arrival(str(tmp_path), "alone", "first")
    finally:
        flow.kill()
        flow.wait()
    client: Any
    with Client(external.address, set_as_default=False) as client:
        deadline = time.monotonic() + 90
        while any(client.run(_executes).values()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert not (tmp_path / "second").exists()


def _executes(dask_worker: Any = None) -> bool:
    return bool(dask_worker.state.executing)
