"""Identifiers: unique, increasing, and of version 7."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import time
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest

from flowyard.schemas.ids import IdSource, new_id


def test_an_id_is_a_uuid_of_version_7_that_tells_its_time() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000
    assert isinstance(made, UUID)
    assert (made.version, made.variant) == (7, RFC_4122)
    # Many ids made before, within less time than they have room for, may have pushed the clock ahead.
    assert before <= made.int >> 80 <= after + 1


def test_an_id_is_an_ordinary_uuid() -> None:
    made = new_id()
    assert UUID(str(made)) == made == UUID(bytes=made.bytes)
    assert hash(made) == hash(UUID(int=made.int))
    assert pickle.loads(pickle.dumps(made)) == made


def test_ids_increase() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert all(earlier < later for earlier, later in pairwise(ids))


@pytest.mark.parametrize("step", [0, -1_000_000_000], ids=["clock stands still", "clock is set back"])
def test_ids_increase_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    clock = time.time_ns()

    def time_ns() -> int:
        nonlocal clock
        clock += step
        return clock

    source = IdSource()
    monkeypatch.setattr("flowyard.schemas.ids.time.time_ns", time_ns)
    # More than the 4096 that fit into one millisecond.
    ids = [source() for _ in range(10_000)]
    assert all(earlier < later for earlier, later in pairwise(ids))
    assert all(made.version == 7 for made in ids[:: len(ids) // 10])


def test_ids_made_by_many_threads_are_unique_and_increase_in_each() -> None:
    made: list[list[UUID]] = [[] for _ in range(8)]
    start = threading.Barrier(8)

    def make(into: list[UUID]) -> None:
        start.wait()
        into.extend(new_id() for _ in range(5_000))

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for ids in made for each in ids}) == 40_000
    assert all(earlier < later for ids in made for earlier, later in pairwise(ids))


def test_two_sources_do_not_share_their_random_part() -> None:
    assert IdSource()().int & ((1 << 62) - 1) != IdSource()().int & ((1 << 62) - 1)


FORK = """
import os
from flowyard.schemas.ids import new_id

def make(count):
    return [new_id().int for _ in range(count)]

last = make(100)[-1]
new_id._lock.acquire()  # as if another thread were inside
read, write = os.pipe()
child = os.fork()
if child == 0:
    ids = make(1000)
    with os.fdopen(write, "w") as out:
        out.write(",".join(map(str, ids)))
    os._exit(0)
new_id._lock.release()
os.close(write)
own = make(1000)
with os.fdopen(read) as sent:
    others = [int(each) for each in sent.read().split(",")]
os.waitpid(child, 0)
low = (1 << 62) - 1
assert len(set(own) | set(others)) == 2000
assert not {each & low for each in own} & {each & low for each in others}
assert min(others) > last and min(own) > last
print("unique")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_parent_and_forked_child_make_different_ids() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=90, check=False)
    assert (done.stdout, done.stderr) == ("unique\n", "")
