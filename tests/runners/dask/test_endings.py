"""Flows whose time is over, while Dask cannot place a task, or says nothing any more."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dask.base import annotate
from distributed import LocalCluster

from flowyard.exceptions import MissingResult
from flowyard.flows import flow
from flowyard.schemas.states import State
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import arrive, await_arrival, identity
from flowyard_dask import DaskTaskRunner


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowyard.engine.ending._GRACE_SECONDS", 0.3)
    monkeypatch.setattr("flowyard_dask.session._ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("flowyard_dask.session._CLOSE_SECONDS", 1.0)


same = task(identity)


@task
def hold_interpreter(folder: str) -> None:
    """Let nothing else of the worker's process do anything for three seconds."""
    arrive(folder, "held")
    try:
        ctypes.PyDLL(None).sleep(3)
    finally:
        arrive(folder, "over")


@pytest.mark.parametrize("how", ["submit", "call", "map"])
def test_a_task_without_a_place_ends_with_its_flow(threads: LocalCluster, how: str) -> None:
    runs: list[Any] = []

    @flow(task_runner=DaskTaskRunner(cluster=threads), timeout_seconds=1.0)
    def run() -> None:
        with annotate(resources={"GPU": 1}):
            if how == "call":
                same(1)
            elif how == "submit":
                runs.append(same.submit(same.submit(1)))
            else:
                runs.extend(same.map([1, 2, 3]))

    state: State[Any] = run(return_state=True)  # pyright: ignore[reportAssignmentType]
    assert (state.name, state.message) == ("TimedOut", "Flow run exceeded timeout of 1.0 seconds")
    assert {future.get_state().name for future in runs} <= {"Cancelled", "NotReady"}


def test_a_worker_that_does_not_answer_keeps_no_flow_from_its_end(processes: LocalCluster, tmp_path: Path) -> None:
    folder = str(tmp_path)
    futures: list[Any] = []

    @flow(task_runner=DaskTaskRunner(cluster=processes), timeout_seconds=1.0)
    def run() -> None:
        futures.append(hold_interpreter.submit(folder))
        await_arrival(folder, "held")

    state: State[Any] = run(return_state=True)  # pyright: ignore[reportAssignmentType]
    assert not Path(folder, "over").exists()
    assert state.name == "TimedOut"
    assert futures[0].get_state().is_final()
    await_arrival(folder, "over")


def test_a_frozen_scheduler_keeps_no_flow_from_its_end(small: Any) -> None:
    futures: list[Any] = []

    @flow(task_runner=DaskTaskRunner(address=small.address), timeout_seconds=2.0)
    def run() -> None:
        futures.append(same.submit(list(range(10_000))))
        futures[0].wait()
        os.kill(small.scheduler.pid, signal.SIGSTOP)
        futures.append(same.submit(1))

    try:
        state: State[Any] = run(return_state=True)  # pyright: ignore[reportAssignmentType]
    finally:
        small.scheduler.send_signal(signal.SIGCONT)
    assert state.name == "TimedOut"
    assert futures[1].get_state().name == "Cancelled"
    with pytest.raises(MissingResult, match="a Dask cluster that this flow run has left"):
        futures[0].result()
