"""Calls of several flows, each under its own settings, on one Dask worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from flowyard.flows import flow
from flowyard.settings import (
    FLOWYARD_LOCAL_STORAGE_PATH,
    FLOWYARD_RESULTS_SIGNING_KEY,
    FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD,
    get_current_settings,
    temporary_settings,
)
from flowyard.states import State
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import arrive, await_arrival
from flowyard_dask import DaskTaskRunner

Seen = tuple[str, str | None, float | None]


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@pytest.fixture(scope="module")
def shared() -> Iterator[Any]:
    """A cluster of one process, which executes two calls at a time."""
    cluster: Any
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


def seen() -> Seen:
    settings = get_current_settings()
    return (
        settings.FLOWYARD_LOCAL_STORAGE_PATH.name,
        settings.FLOWYARD_RESULTS_SIGNING_KEY,
        settings.FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD,
    )


def under(folder: Path, name: str) -> Any:
    return temporary_settings(
        {
            FLOWYARD_LOCAL_STORAGE_PATH: folder / name,
            FLOWYARD_RESULTS_SIGNING_KEY: f"key of {name}",
            FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD: float(len(name)),
        }
    )


async def seen_async() -> Seen:
    return await asyncio.to_thread(seen)


@pytest.mark.parametrize(
    "look",
    [task(seen), task(timeout_seconds=60)(seen), task(seen_async)],
    ids=["sync", "in a thread of its own", "async"],
)
def test_later_calls_of_a_flow_have_its_settings_after_another_flow_used_the_worker(
    shared: Any, tmp_path: Path, look: Any
) -> None:
    runner = DaskTaskRunner(address=shared.scheduler_address)

    @flow(task_runner=runner)
    def other() -> Seen:
        return look.submit().result()

    @flow(task_runner=runner)
    def first() -> list[Seen]:
        before = look.submit().result()
        with under(tmp_path, "other"):
            between = other()
        return [before, between, look.submit().result()]

    with under(tmp_path, "a"):
        found = first()
    assert found == [("a", "key of a", 1.0), ("other", "key of other", 5.0), ("a", "key of a", 1.0)]


def test_calls_at_the_same_time_see_each_its_own_settings(shared: Any, tmp_path: Path) -> None:
    runner = DaskTaskRunner(address=shared.scheduler_address)
    folder = str(tmp_path)

    @task
    def look(inner: bool) -> list[Seen]:
        before = seen()
        arrive(folder, f"{inner}")
        await_arrival(folder, f"{not inner}")
        with temporary_settings({FLOWYARD_TASK_INTROSPECTION_WARN_THRESHOLD: 100.0 + inner}):
            within = seen()
        arrive(folder, f"{inner} within")
        await_arrival(folder, f"{not inner} within")
        return [before, within, seen()]

    @flow(task_runner=runner)
    def other() -> list[Seen]:
        return look.submit(True).result()

    @flow(task_runner=runner)
    def first() -> tuple[list[Seen], list[Seen]]:
        future = look.submit(False)
        await_arrival(folder, "False")
        with under(tmp_path, "other"):
            inner = other()
        return future.result(), inner

    with under(tmp_path, "a"):
        outer, inner = first()
    assert outer == [("a", "key of a", 1.0), ("a", "key of a", 100.0), ("a", "key of a", 1.0)]
    assert inner == [("other", "key of other", 5.0), ("other", "key of other", 101.0), ("other", "key of other", 5.0)]


def test_results_are_signed_with_the_key_of_their_flow_and_lie_in_its_storage(shared: Any, tmp_path: Path) -> None:
    runner = DaskTaskRunner(address=shared.scheduler_address)

    folder = str(tmp_path / "words")
    Path(folder).mkdir()

    @task(persist_result=True, cache_result_in_memory=False)
    def large(start: int) -> list[int]:
        return list(range(start, start + 10_000))

    @flow(task_runner=runner)
    def numbers(name: str) -> list[State[list[int]]]:
        large.submit(0).wait()
        arrive(folder, name)
        await_arrival(folder, "a", "other")
        states = [large.submit(start, return_state=True) for start in (1, 2)]
        arrive(folder, f"{name} is done")
        await_arrival(folder, "a is done", "other is done")
        return states

    with ThreadPoolExecutor(2) as pool:
        runs: dict[str, Future[list[State[list[int]]]]] = {}
        for name in ("a", "other"):
            with under(tmp_path, name):
                runs[name] = pool.submit(numbers, name)
                await_arrival(folder, name)
        for name, run in runs.items():
            states = run.result()
            with under(tmp_path, name):  # its key refuses what another one has signed
                assert [state.result()[0] for state in states] == [1, 2]
    files = {name: [path for path in (tmp_path / name).rglob("*") if path.is_file()] for name in ("a", "other")}
    assert len(files["a"]) == len(files["other"]) > 0
