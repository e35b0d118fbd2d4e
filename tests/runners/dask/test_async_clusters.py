"""Cluster objects that were made with `asynchronous=True`: they live on the event loop of whoever made them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dask.base import annotate
from distributed import LocalCluster

from flowyard.exceptions import WouldDeadlock
from flowyard.flows import flow
from flowyard.schemas.states import StateType
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import arrive, await_arrival
from flowyard_dask import DaskTaskRunner


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@task
def make(number: int) -> list[int]:
    return list(range(number))


@task
async def make_async(number: int) -> list[int]:
    return list(range(number))


def on_cluster(body: Callable[[], Awaitable[Any]]) -> Any:
    """Run an async flow on a cluster that shares its event loop."""

    async def run() -> Any:
        options: dict[str, Any] = {"processes": False, "dashboard_address": "127.0.0.1:0"}
        cluster: Any
        async with LocalCluster(n_workers=1, threads_per_worker=1, asynchronous=True, **options) as cluster:
            return await flow(task_runner=DaskTaskRunner(cluster=cluster))(body)()

    return asyncio.run(run())


def test_values_that_stay_on_the_cluster_are_awaited() -> None:
    async def lengths() -> list[int]:
        first = make_async.submit(5_000)
        second = make.submit(6_000)
        return [len(await first.result()), len(await asyncio.to_thread(second.result))]

    assert on_cluster(lengths) == [5_000, 6_000]


def test_a_wait_that_would_block_the_loop_of_the_cluster_is_refused() -> None:
    async def blocks() -> str:
        future = make.submit(1)
        with pytest.raises(WouldDeadlock, match=r"await asyncio.to_thread\(future.result\)"):
            future.result()
        return str(await asyncio.to_thread(future.result))

    assert on_cluster(blocks) == "[0]"


@task
def wait_for(folder: str) -> str:
    arrive(folder, "begun")
    await_arrival(folder, "released")
    return "done"


def _see_running(future: Any) -> None:
    while future.task_run.state_type is not StateType.RUNNING:
        time.sleep(0.01)


def test_a_wait_for_a_task_that_runs_is_refused_too(tmp_path: Path) -> None:
    folder = str(tmp_path)

    async def blocks() -> str:
        future = wait_for.submit(folder)
        await asyncio.to_thread(_see_running, future)
        with pytest.raises(WouldDeadlock, match=r"await asyncio.to_thread\(future.result\)"):
            future.result()
        arrive(folder, "released")
        return await asyncio.to_thread(future.result)

    assert on_cluster(blocks) == "done"


def test_a_direct_call_is_refused_before_it_begins() -> None:
    async def calls() -> list[int]:
        with pytest.raises(WouldDeadlock, match=r"await asyncio.to_thread\(task, ...\)"):
            make(1)
        return await asyncio.to_thread(make, 2)

    assert on_cluster(calls) == [0, 1]


def test_a_map_in_batches_does_not_ask_the_cluster_that_it_blocks() -> None:
    async def lengths() -> list[int]:
        futures = make.map([1, 2, 3], batch_size=2)
        return [len(await asyncio.to_thread(future.result)) for future in futures]

    assert on_cluster(lengths) == [1, 2, 3]


def test_a_flow_in_that_loop_ends_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flowyard.engine.ending._GRACE_SECONDS", 0.1)

    async def run() -> Any:
        options: dict[str, Any] = {"processes": False, "dashboard_address": "127.0.0.1:0"}
        cluster: Any
        async with LocalCluster(n_workers=1, threads_per_worker=1, asynchronous=True, **options) as cluster:

            @flow(task_runner=DaskTaskRunner(cluster=cluster), timeout_seconds=0.5)
            async def waits() -> None:
                with annotate(resources={"GPU": 1}):
                    future = make_async.submit(1)
                await future.result()

            ended: Any = waits(return_state=True)
            return await ended

    state = asyncio.run(run())
    assert (state.name, state.message) == ("TimedOut", "Flow run exceeded timeout of 0.5 seconds")
