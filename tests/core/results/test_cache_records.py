"""Records and locks of the cache in result storage."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flowyard.exceptions import CorruptResult, MissingResult
from flowyard.filesystems import LocalFileSystem
from flowyard.results import ResultFactory
from flowyard.results.blob import header_line
from flowyard.results.cache_locks import CacheLocks
from flowyard.results.cache_records import (
    iter_records,
    new_record,
    read_record,
    record_path,
    usable_handle,
    write_record,
)
from flowyard.serializers import PickleSerializer

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def storage(tmp_path):
    return LocalFileSystem(basepath=str(tmp_path))


@pytest.fixture
def factory(storage):
    return ResultFactory(persist_result=True, storage=storage, serializer=PickleSerializer())


def put(factory, key, value, **facts):
    handle = factory.create_result(value)
    write_record(factory.storage, new_record(key, factory.storage, handle, **facts))
    return handle


def get(storage, key):
    record = read_record(storage, key)
    assert record is not None
    return usable_handle(storage, record).get()


@pytest.mark.parametrize("value", [[1, 2], None, True, "x" * 100_000], ids=["list", "None", "True", "long"])
def test_a_value_is_found_by_its_key(factory, storage, value):
    put(factory, "a key / with \N{SNOWMAN}", value)
    assert get(storage, "a key / with \N{SNOWMAN}") == value


def test_a_key_without_a_record_has_none(storage):
    assert read_record(storage, "nothing") is None


def test_a_storage_that_was_moved_still_has_its_values(factory, storage, tmp_path):
    put(factory, "k", [1])
    moved = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(moved)
    assert get(LocalFileSystem(basepath=str(moved)), "k") == [1]


def test_a_record_says_when_it_expires(factory, storage):
    put(factory, "k", [1], expires=NOW)
    record = read_record(storage, "k")
    assert record is not None
    assert record.is_expired(NOW)
    assert not record.is_expired(NOW - timedelta(seconds=1))
    assert record.expiration() == NOW


def test_a_value_whose_file_is_gone_is_not_used(factory, storage):
    handle = put(factory, "k", [1])
    Path(handle.storage_key).unlink()
    with pytest.raises(FileNotFoundError):
        get(storage, "k")


def test_a_value_that_another_run_overwrote_is_not_used(storage):
    factory = ResultFactory(persist_result=True, storage=storage, serializer=PickleSerializer(), storage_key="same")
    put(factory, "one", [1])
    put(factory, "two", [2])
    with pytest.raises(MissingResult, match="another run wrote its own value"):
        get(storage, "one")
    assert get(storage, "two") == [2]


@pytest.mark.parametrize("content", [b"", b"{}\n", b"not json\n", b'{"format": "flowyard-cache/9"}\n', b"[1]\n"])
def test_a_damaged_record_says_so(factory, storage, content):
    put(factory, "k", [1])
    path = storage.resolve(record_path("k"))
    path.write_bytes(content)
    with pytest.raises(CorruptResult) as caught:
        read_record(storage, "k")
    assert str(path) in str(caught.value)
    assert [record for _, record in iter_records(storage)] == [None]


def test_a_record_that_says_more_than_this_version_knows_counts(factory, storage):
    put(factory, "k", [1])
    path = storage.resolve(record_path("k"))
    path.write_bytes(header_line({**json.loads(path.read_bytes()), "later": {"than": ["this"]}}, None))
    assert get(storage, "k") == [1]


def test_a_record_that_was_cut_off_is_damaged(factory, storage):
    put(factory, "k", [1])
    path = storage.resolve(record_path("k"))
    os.truncate(path, path.stat().st_size - 5)
    with pytest.raises(CorruptResult, match="cut off"):
        read_record(storage, "k")


def test_a_record_in_the_place_of_another_is_not_believed(factory, storage):
    put(factory, "one", [1])
    place = storage.resolve(record_path("two"))
    place.parent.mkdir(parents=True, exist_ok=True)
    storage.resolve(record_path("one")).rename(place)
    with pytest.raises(CorruptResult, match="about the key 'one'"):
        read_record(storage, "two")


def test_with_a_signing_key_only_signed_records_count(factory, storage):
    handle = factory.create_result([1])
    write_record(storage, new_record("k", storage, handle), "secret")
    assert read_record(storage, "k", "secret") is not None
    with pytest.raises(CorruptResult, match="signature is wrong"):
        read_record(storage, "k", "other")
    write_record(storage, new_record("k", storage, handle))
    with pytest.raises(CorruptResult, match="not signed"):
        read_record(storage, "k", "secret")


# --- locks ----------------------------------------------------------------------------------------------


@pytest.fixture
def locks(storage):
    made = [CacheLocks(storage) for _ in range(3)]
    yield made
    for one in made:
        one.close()
    assert [path for path in Path(storage.basepath).rglob("*") if path.is_file() and path.name != ".take-over"] == []


def test_one_owner_at_a_time_has_the_lock_of_a_key(locks):
    one, two, _ = locks
    assert one.acquire("k")
    assert not two.acquire("k")
    assert not one.acquire("k")
    assert two.acquire("another")
    one.release("k")
    assert two.acquire("k")


def test_who_closes_gives_everything_back(locks):
    one, two, _ = locks
    assert one.acquire("a")
    assert one.acquire("b")
    one.close()
    assert two.acquire("a")
    assert two.acquire("b")


HOLD = """
import sys
from flowyard.filesystems import LocalFileSystem
from flowyard.results.blob import header_line
from flowyard.results.cache_locks import CacheLocks

locks = CacheLocks(LocalFileSystem(basepath=sys.argv[1]))
assert locks.acquire("k")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(storage):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, storage.basepath], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_lock_of_a_process_that_was_killed_is_taken_over_by_one(locks, holder):
    one, two, three = locks
    assert not one.acquire("k")
    holder.kill()
    holder.wait()
    assert [owner.acquire("k") for owner in (one, two, three)] == [True, False, False]
    one.release("k")
    assert two.acquire("k")
