"""Flows whose time is over, or that are stopped, while Ray cannot place a task or a task does not end."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowyard.flows import flow
from flowyard.schemas.states import State
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import arrive, await_arrival, identity
from flowyard_ray import RayTaskRunner, remote_options

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("ray_driver", "_backend")]


@pytest.fixture(scope="module")
def _backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


same = task(identity)


@pytest.mark.parametrize("how", ["submit", "call", "map"])
def test_a_task_without_a_place_ends_with_its_flow(how: str) -> None:
    futures: list[Any] = []

    @flow(task_runner=RayTaskRunner(), timeout_seconds=1.0)
    def run() -> None:
        with remote_options(num_gpus=1):
            if how == "call":
                same(1)
            elif how == "submit":
                futures.append(same.submit(same.submit(1)))
            else:
                futures.extend(same.map([1, 2, 3], batch_size=2))

    state: State[Any] = run(return_state=True)  # pyright: ignore[reportAssignmentType]
    assert (state.name, state.message) == ("TimedOut", "Flow run exceeded timeout of 1.0 seconds")
    assert {future.get_state().name for future in futures} <= {"Cancelled", "NotReady"}


def test_a_worker_that_does_not_end_is_killed_with_its_flow(tmp_path: Path) -> None:
    @task
    def hold_interpreter(folder: str) -> None:
        arrive(folder, "held")
        ctypes.PyDLL(None).sleep(120)

    futures: list[Any] = []

    @flow(task_runner=RayTaskRunner(), timeout_seconds=3.0)
    def run() -> None:
        futures.append(hold_interpreter.submit(str(tmp_path)))
        await_arrival(str(tmp_path), "held")
        raise ValueError("now")

    state: State[Any] = run(return_state=True)  # pyright: ignore[reportAssignmentType]
    assert state.is_failed()
    assert futures[0].get_state().name == "Cancelled"
    assert "its worker process was killed" in futures[0].get_state().message
