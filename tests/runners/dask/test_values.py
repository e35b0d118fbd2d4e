"""How values come to the flow's process: who reads a map from its begin to its end does not wait for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowyard import flow, runtime, task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard_dask import DaskTaskRunner
from flowyard_dask.values import Values


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@task
def repeat(number: int, bytes_each: int = 2_000) -> bytes:
    return bytes([number]) * bytes_each


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int | None]]:
    """Which values were asked for on the cluster: Dask key, place in the chunk."""
    asked: list[tuple[str, int | None]] = []
    fetch = Values.fetch

    def noting(self: Values, future: Any, index: int | None) -> Any:
        asked.append((future.key, index))
        return fetch(self, future, index)

    monkeypatch.setattr(Values, "fetch", noting)
    return asked


def test_who_reads_in_order_gets_the_rest_of_a_chunk_at_once(small: Any, fetched: list[Any]) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def read() -> list[bytes]:
        return [future.result() for future in repeat.map(range(30), batch_size=10)]

    assert read() == [bytes([number]) * 2_000 for number in range(30)]
    # Of the first chunk two, because after one it is not clear yet; of the others one.
    assert [index for _, index in fetched] == [0, 1, 0, 0]


def test_who_reads_here_and_there_gets_what_was_asked_for_only(small: Any, fetched: list[Any]) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def read() -> list[bytes]:
        futures = repeat.map(range(10), batch_size=10)
        return [futures[index].result() for index in (7, 3, 5, 9, 0)]

    assert read() == [bytes([number]) * 2_000 for number in (7, 3, 5, 9, 0)]
    # Neither while the flow runs nor at its end, where nobody has the others any more.
    assert [index for _, index in fetched] == [7, 3, 5, 9, 0]


def test_what_is_referred_to_at_the_end_comes_chunk_by_chunk(small: Any, fetched: list[Any]) -> None:
    kept: list[Any] = []

    @flow(task_runner=DaskTaskRunner(address=small.address))
    def keep() -> None:
        kept.extend(repeat.map(range(20), batch_size=10))

    keep()
    assert [future.result() for future in kept] == [bytes([number]) * 2_000 for number in range(20)]
    assert fetched == []


def test_large_values_come_one_by_one(small: Any, fetched: list[Any]) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def read() -> int:
        return sum(len(future.result()) for future in repeat.map(range(4), bytes_each=200_000, batch_size=4))

    assert read() == 800_000
    assert [index for _, index in fetched] == [0, 1, 2, 3]


def test_a_hook_sees_no_parameter_whose_value_stayed_on_the_cluster(threads: Any) -> None:
    seen: list[object] = []

    def hook(task: Any, task_run: Any, state: Any) -> None:
        seen.append((task_run.name, runtime.task_run.parameters))

    @task(on_completion=[hook])
    def add(x: int, y: int = 1) -> int:
        return x + y

    @flow(task_runner=DaskTaskRunner(cluster=threads))
    def run() -> int:
        return add.submit(add.submit(1)).result()

    assert run() == 3
    assert seen == [("add-0", {"x": 1, "y": 1}), ("add-1", {"y": 1})]
