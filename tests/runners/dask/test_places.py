"""Tasks that wait for others on their own cluster, which has no place but theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster, get_worker, rejoin, secede

from flowyard.flows import flow
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import arrive, await_arrival
from flowyard_dask import DaskTaskRunner, get_dask_client

_PATIENCE_SECONDS = 20


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@pytest.fixture(scope="module")
def narrow() -> Iterator[Any]:
    """A cluster with one place."""
    cluster: Any
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def ask() -> int:
    client: Any
    with get_dask_client() as client:
        return client.submit(lambda: 41, pure=False).result(timeout=_PATIENCE_SECONDS)


def ask_and_leave_once_more() -> int:
    """Do what joblib's Dask backend does around its waiting."""
    client: Any
    with get_dask_client() as client:
        future = client.submit(lambda: 41, pure=False)
        secede()
        found = future.result(timeout=_PATIENCE_SECONDS)
        rejoin()
        return found


def ask_in_the_middle() -> int:
    with get_dask_client():
        return ask()


@task
def places() -> tuple[int, int]:
    """Return how many threads the worker wants, and how many it has."""
    executor: Any = get_worker().executors["default"]
    return executor._max_workers, len(executor._threads)


@pytest.mark.parametrize(
    ("function", "timeout"),
    [(ask, None), (ask, 60), (ask_and_leave_once_more, None), (ask_in_the_middle, None), (ask_in_the_middle, 60)],
    ids=["plain", "timed", "left twice", "nested", "nested and timed"],
)
def test_a_task_that_uses_a_client_gives_its_place_to_what_it_waits_for(
    narrow: Any, function: Any, timeout: float | None
) -> None:
    asking = task(timeout_seconds=timeout)(function)

    @flow(task_runner=DaskTaskRunner(cluster=narrow))
    def run() -> list[Any]:
        futures = [asking.submit() for _ in range(2)]
        return [*(future.result() for future in futures), places.submit().result()]

    assert run() == [41, 41, (1, 1)]


def test_the_timeout_of_a_flow_changes_nothing_about_that(narrow: Any) -> None:
    asking = task(ask)

    @flow(task_runner=DaskTaskRunner(cluster=narrow), timeout_seconds=60)
    def run() -> int:
        return asking.submit().result()

    assert run() == 41


def test_a_task_that_timed_out_takes_no_place_for_ever(narrow: Any, tmp_path: Path) -> None:
    folder = str(tmp_path)

    @task(timeout_seconds=0.2)
    def waits_too_long() -> None:
        client: Any
        with get_dask_client() as client:
            client.submit(await_arrival, folder, "end", pure=False).result()

    @flow(task_runner=DaskTaskRunner(cluster=narrow))
    def run() -> list[Any]:
        ended = waits_too_long.submit().wait()
        arrive(folder, "end")
        found = [ended.name]
        while (there := places.submit().result()) != (1, 1):
            assert there[0] <= 2
        return found

    assert run() == ["TimedOut"]
