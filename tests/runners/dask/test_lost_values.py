"""Values of completed tasks whose only copy dies with a Dask worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from distributed import Client

from flowyard.client import get_client
from flowyard.exceptions import MissingResult, ValueLost
from flowyard.flows import flow
from flowyard.tasks import task
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import arrive, await_arrival, note, notes
from flowyard_dask import DaskTaskRunner


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


@task
def make_list(folder: str, start: int = 0) -> list[int]:
    note(folder, f"made {os.getpid()}")
    return list(range(start, 10_000))


@task
def total(values: list[int]) -> int:
    return sum(values)


def kill_makers(cluster: Any, folder: str) -> None:
    """Kill the workers where lists were made, and wait until the scheduler knows."""
    makers = {int(line.split()[-1]) for line in notes(folder)}
    client: Any
    with Client(cluster.address, set_as_default=False) as client:
        (living,) = set(client.run(os.getpid).values()) - makers
        for pid in makers:
            os.kill(pid, signal.SIGKILL)
        while set(client.run(os.getpid, on_error="ignore").values()) != {living}:
            pass


def test_consumers_of_a_lost_value_crash_and_say_so(small: Any, folder: str) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def lost() -> tuple[str, str, BaseException]:
        made = make_list.submit(folder)
        made.wait()
        kill_makers(small, folder)
        state = total.submit(made).wait()
        with pytest.raises(MissingResult, match="lost with worker"):
            made.result()
        return state.name, state.message or "", state.result(raise_on_failure=False)

    name, message, error = lost()
    assert name == "Crashed"
    assert "value lost with worker tcp://" in message
    assert isinstance(error, ValueLost)
    assert error.run_name == "make_list-0"
    assert len(notes(folder)) == 2, "user code of a Completed task ran again"


def test_a_lost_value_that_is_persisted_is_read_from_its_storage(small: Any, folder: str) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def lost() -> tuple[int, int]:
        made = make_list.with_options(persist_result=True).submit(folder)
        made.wait()
        kill_makers(small, folder)
        return total.submit(made).result(), len(made.result())

    assert lost() == (sum(range(10_000)), 10_000)
    assert len(notes(folder)) == 2, "user code of a Completed task ran again"


def test_a_lost_value_is_made_again_once_for_all_consumers_within_its_crash_retries(small: Any, folder: str) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def lost() -> tuple[list[int], UUID]:
        first = make_list.with_options(crash_retries=1).submit(folder)
        made = make_list.with_options(crash_retries=1).submit(folder, start=first_of(first))
        made.wait()
        kill_makers(small, folder)
        return [future.result() for future in [total.submit(made), total.submit(made)]], made.key

    totals, run_id = lost()
    assert totals == [sum(range(10_000))] * 2
    with get_client(sync_client=True) as client:
        states = [state.name for state in client.read_task_run_states(run_id)]
    assert states == ["Pending", "Running", "Completed", "Running", "Completed"]
    made = [line for line in notes(folder) if line.startswith("begin")]
    assert 3 <= len(made) <= 4, "each of the two lists is made again at most once, and one at least"


def first_of(future: Any) -> int:
    """Return 0, by way of a task that has the value of `future` as its input."""
    return task(lambda values: values[0]).submit(future).result()


def test_a_value_that_is_lost_too_often_crashes_its_consumers(small: Any, folder: str) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def lost() -> list[str]:
        made = make_list.with_options(crash_retries=1).submit(folder)
        made.wait()
        kill_makers(small, folder)
        names = [total.submit(made).wait().name]
        small.workers.append(small.start_worker("another"))
        with Client(small.address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        Path(folder, "notes").write_text(notes(folder)[-1] + "\n")
        kill_makers(small, folder)
        return [*names, total.submit(made).wait().name]

    assert lost() == ["Completed", "Crashed"]


@task
def die_as_second(folder: str, number: int) -> list[int]:
    if number:
        await_arrival(folder, "first is done")
        os.kill(os.getpid(), signal.SIGKILL)
    return [number] * 10


def test_an_item_that_was_done_before_the_worker_of_its_chunk_died_has_a_value(small: Any, folder: str) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def half_done() -> tuple[int, str]:
        first, second = die_as_second.map(folder, range(2), batch_size=2)
        first.wait()
        arrive(folder, "first is done")
        name = second.wait().name
        return total.submit(first).result(), name

    assert half_done() == (0, "Crashed")
