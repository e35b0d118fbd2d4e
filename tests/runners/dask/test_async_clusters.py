"""Cluster objects that were made with `asynchronous=True`: they live on the event loop of whoever made them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from distributed import LocalCluster

from flowyard.exceptions import WouldDeadlock
from flowyard.flows import flow
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
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
