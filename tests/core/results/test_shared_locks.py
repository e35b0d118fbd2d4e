"""Locks on cache keys in storage that is no folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from flowyard import flow, task
from flowyard.cache_policies import INPUTS
from flowyard.filesystems import RemoteFileSystem
from flowyard.logging.loggers import LogEavesdropper
from flowyard.results.shared_locks import SharedLocks


@pytest.fixture
def storage() -> RemoteFileSystem:
    return RemoteFileSystem(basepath=f"memory://{uuid4()}")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def owners(storage: RemoteFileSystem, clock: Clock) -> Iterator[list[SharedLocks]]:
    """Three owners whose hearts beat once, and then only when somebody moves the clock of who looks."""
    owners = [SharedLocks(storage, beat_seconds=3600, dead_after_seconds=7200, clock=clock) for _ in range(3)]
    yield owners
    for owner in owners:
        owner.release("k")
        owner.release("other")
    assert list(storage.iter_paths("cache")) == [], "nothing is left behind"


def test_one_owner_has_a_key_until_it_gives_it_back(owners: list[SharedLocks]) -> None:
    first, second, _ = owners
    assert first.acquire("k")
    assert not second.acquire("k")
    assert second.acquire("other")
    first.release("k")
    assert second.acquire("k")
    assert not first.acquire("k")


def test_a_lock_that_one_has_is_asked_for_without_writing(owners: list[SharedLocks], storage: RemoteFileSystem) -> None:
    first, second, _ = owners
    assert first.acquire("k")
    before = list(storage.iter_paths("cache"))
    assert not second.acquire("k")
    assert list(storage.iter_paths("cache")) == before


def test_of_claims_that_meet_the_earliest_gets_the_lock(
    owners: list[SharedLocks], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each looks, sees nobody, and is then overtaken by the others.
    first, second, third = owners
    with monkeypatch.context() as patch:
        for owner in owners:
            patch.setattr(owner, "_others", lambda _key, own: [] if not own else ["cache/locks/x/~-nobody"])
        assert not any([first.acquire("k"), second.acquire("k"), third.acquire("k")])
    assert not third.acquire("k")
    assert not second.acquire("k")
    assert first.acquire("k")
    assert not second.acquire("k")


def test_never_two_have_a_lock_whatever_the_order_of_their_steps(storage: RemoteFileSystem) -> None:
    inside: list[int] = []
    most: list[int] = []
    taken: list[int] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        owner = SharedLocks(storage)
        for _ in range(10):
            while not owner.acquire("k"):
                threading.Event().wait(0.001)
            with lock:
                inside.append(number)
                most.append(len(inside))
                taken.append(number)
            with lock:
                inside.remove(number)
            owner.release("k")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert len(taken) == 60
    assert max(most) == 1


def test_the_lock_of_an_owner_that_shows_no_life_is_taken_over(owners: list[SharedLocks], clock: Clock) -> None:
    dead, heir, third = owners
    assert dead.acquire("k")
    assert not heir.acquire("k")
    clock.now += 7000
    assert not heir.acquire("k")
    clock.now += 2000
    assert heir.acquire("k")
    assert not third.acquire("k")


def test_an_owner_that_shows_life_keeps_its_lock(
    owners: list[SharedLocks], clock: Clock, storage: RemoteFileSystem
) -> None:
    alive, other, _ = owners
    assert alive.acquire("k")
    (path,) = storage.iter_paths("cache/owners")
    for beat in range(5):
        assert not other.acquire("k")
        storage.write_path(path, f"beat {beat}".encode())
        clock.now += 6000
    assert not other.acquire("k")


def test_a_claim_without_an_owner_counts_for_nothing(owners: list[SharedLocks], storage: RemoteFileSystem) -> None:
    dead, heir, _ = owners
    assert dead.acquire("k")
    (path,) = storage.iter_paths("cache/owners")
    storage.delete_file(path)
    assert heir.acquire("k")


def test_the_file_of_an_owner_changes_while_it_holds_a_lock(storage: RemoteFileSystem) -> None:
    owner = SharedLocks(storage, beat_seconds=0.005)
    assert owner.acquire("k")
    (path,) = storage.iter_paths("cache/owners")
    seen = {bytes(storage.read_file(path))}
    deadline = threading.Event()
    for _ in range(2000):
        seen.add(bytes(storage.read_file(path)))
        if len(seen) > 2:
            break
        deadline.wait(0.005)
    owner.release("k")
    assert len(seen) > 2
    assert list(storage.iter_paths("cache")) == []


# --- in flows -------------------------------------------------------------------------------------------------


def test_equal_calls_of_several_flow_runs_execute_once(records: Any, storage: RemoteFileSystem) -> None:
    gate = threading.Barrier(4)
    calls: list[int] = []

    @task(cache_policy=INPUTS, cache_lock=True, result_storage=storage)
    def work() -> list[int]:
        calls.append(1)
        return [7]

    @flow
    def one() -> list[int]:
        gate.wait(90)
        return work()

    values: list[Any] = []
    threads = [threading.Thread(target=lambda: values.append(one())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert values == [[7]] * 4
    assert len(calls) == 1
    assert list(storage.iter_paths("cache/locks")) == list(storage.iter_paths("cache/owners")) == []


def test_a_lock_that_cannot_be_taken_hurts_nobody(
    records: Any, storage: RemoteFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise PermissionError("not allowed to list")

    monkeypatch.setattr(RemoteFileSystem, "iter_paths", refuse)

    @task(cache_policy=INPUTS, cache_lock=True, result_storage=storage)
    def work() -> list[int]:
        return [7]

    @flow
    def one() -> list[int]:
        return work()

    with LogEavesdropper("flowyard") as heard:
        assert one() == [7]
    assert "A call goes on without its `cache_lock`: PermissionError: not allowed to list" in heard.text()
