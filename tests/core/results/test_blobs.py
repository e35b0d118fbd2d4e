"""Files of results: signatures, large arrays, versions, and storage that fails."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flowyard.exceptions import CorruptResult, MissingResult, RemoteException, ResultStorageFailed
from flowyard.filesystems import LocalFileSystem
from flowyard.results import PersistedResult, ResultFactory, ResultOrigin, read_header, read_value, result_from_record
from flowyard.results.blob import make_blob
from flowyard.serializers import CompressedPickleSerializer, PickleSerializer
from flowyard.settings import FLOWYARD_RESULTS_SIGNING_KEY, temporary_settings


@pytest.fixture
def storage(tmp_path):
    return LocalFileSystem(basepath=str(tmp_path))


def factory_of(storage, **options):
    given: dict[str, Any] = {"serializer": PickleSerializer(), "is_default_storage": True, **options}
    return ResultFactory(persist_result=True, storage=storage, **given)


def created(storage, value, **options) -> PersistedResult:
    handle = factory_of(storage, **options).create_result(value)
    assert isinstance(handle, PersistedResult)
    return handle


def reread(handle, storage):
    return result_from_record(json.loads(json.dumps(handle.to_record())), storage).get()


# --- large values ---------------------------------------------------------------------------------------

ARRAYS = {
    "one array": lambda: np.arange(50_000),
    "a dict of arrays": lambda: {"a": np.arange(50_000), "b": np.ones((300, 301), order="F"), "c": "small"},
    "an empty array among large ones": lambda: [np.arange(0), np.arange(50_000, dtype="u1").repeat(3)],
    "bytes": lambda: os.urandom(500_000),
    "a large bytearray": lambda: bytearray(os.urandom(500_000)),
}


@pytest.mark.parametrize("make", ARRAYS.values(), ids=ARRAYS.keys())
@pytest.mark.parametrize("key", [None, "secret"], ids=["plain", "signed"])
def test_large_values_come_back_equal(storage, make, key):
    value = make()
    with temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: key}):
        back = reread(factory_of(storage, own_signing_key=key).create_result(value), storage)
    assert pickle.dumps(back) == pickle.dumps(value)


def test_an_array_that_was_read_can_be_changed(storage):
    handle = created(storage, np.zeros(50_000))
    back = reread(handle, storage)
    back[0] = 1
    assert reread(handle, storage)[0] == 0


def test_buffers_begin_where_processors_like_it(storage):
    blob = make_blob([np.arange(50_000), np.arange(60_001, dtype="u1"), np.arange(70_000)], PickleSerializer())
    content = blob.to_bytes()
    begin = content.index(np.arange(50_000).tobytes())
    assert begin % 64 == 0
    assert read_header(content, "here").file_size(content.index(b"\n") + 1) == len(content)


@pytest.mark.parametrize("cut", [1, 1000, 300_000])
def test_a_large_file_that_was_cut_off_is_reported(storage, tmp_path, cut):
    handle = created(storage, np.arange(50_000))
    path = tmp_path / handle.storage_key
    os.truncate(path, path.stat().st_size - cut)
    with pytest.raises(CorruptResult, match="it was cut off"):
        reread(handle, storage)


@pytest.mark.parametrize("place", [0.3, 0.9999])
def test_one_wrong_bit_in_a_large_file_is_found(storage, tmp_path, place):
    handle = created(storage, np.arange(50_000))
    path = tmp_path / handle.storage_key
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptResult, match="checksum is wrong"):
        reread(handle, storage)


# --- what is shown --------------------------------------------------------------------------------------


def test_a_reference_tells_type_and_size(storage):
    handle = created(storage, np.arange(150_000))
    record = handle.to_record()
    assert record["value_type"] == "numpy.ndarray"
    assert 1_200_000 < record["size"] < 1_201_000
    restored = result_from_record(record, storage)
    assert isinstance(restored, PersistedResult)
    assert restored.artifact_description.startswith(
        f"Result of type `numpy.ndarray` (1.2 MB) persisted to `{storage.basepath}/"
    )


# --- signatures -----------------------------------------------------------------------------------------


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def signed(storage, value, key="secret"):
    return created(storage, value, own_signing_key=key)


def test_a_signed_result_is_read_with_its_key(storage):
    handle = signed(storage, [1, 2])
    with temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: "secret"}):
        assert reread(handle, storage) == [1, 2]


@pytest.mark.parametrize("key", [None, "other"], ids=["unsigned", "signed with another key"])
def test_what_is_not_signed_with_the_key_is_refused_before_it_is_unpickled(storage, tmp_path, key):
    bomb = tmp_path / "exploded"
    handle = signed(storage, Bomb(bomb), key)
    with (
        temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: "secret"}),
        pytest.raises(CorruptResult, match="not signed|signature is wrong"),
    ):
        reread(handle, storage)
    assert not bomb.exists()


FORGERIES = {
    "another value": lambda line, rest, evil: (line, evil.partition(b"\n")[2]),
    "another header and value": lambda line, rest, evil: (
        evil.partition(b"\n")[0][:-1] + line[line.index(b', "signature"') :],
        evil.partition(b"\n")[2],
    ),
    "a weaker checksum": lambda line, rest, evil: (line.replace(b"blake2b:", b"xxh3:"), rest),
    "something after the signature": lambda line, rest, evil: (line[:-1] + b', "size": 3}', rest),
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_file_is_refused_before_it_is_unpickled(storage, tmp_path, forge):
    bomb = tmp_path / "exploded"
    handle = signed(storage, ["good"])
    path = tmp_path / handle.storage_key
    line, _, rest = path.read_bytes().partition(b"\n")
    evil = make_blob(Bomb(bomb), PickleSerializer()).to_bytes()
    path.write_bytes(b"\n".join(forge(line, rest, evil)))
    with temporary_settings({FLOWYARD_RESULTS_SIGNING_KEY: "secret"}), pytest.raises(CorruptResult):
        reread(handle, storage)
    assert not bomb.exists()


def test_the_key_is_not_shown_and_not_pickled_with_a_result(storage):
    factory = factory_of(storage, own_signing_key="hush-hush")
    handle = created(storage, [1], own_signing_key="hush-hush")
    assert "hush-hush" not in repr(factory) + repr(handle) + str(handle.to_record())
    assert b"hush-hush" not in pickle.dumps(handle)
    assert b"hush-hush" not in Path(storage.basepath, handle.storage_key).read_bytes()


# --- other versions -------------------------------------------------------------------------------------


def test_a_file_of_a_later_format_says_what_to_do():
    content = make_blob([1], PickleSerializer()).to_bytes().replace(b"flowyard-result/1", b"flowyard-result/7")
    with pytest.raises(CorruptResult, match="its format is 'flowyard-result/7'.*upgrade it"):
        read_value(content, "here")


def test_a_file_of_another_version_of_the_serializer_warns_and_is_read():
    content = make_blob([1], PickleSerializer(picklelib_version="0.1")).to_bytes()
    with pytest.warns(RuntimeWarning, match=r"pickled with cloudpickle 0\.1"):
        assert read_value(content, "here") == [1]


def test_a_serializer_whose_library_is_gone_is_named():
    content = make_blob([1], CompressedPickleSerializer(compressionlib="zlib")).to_bytes()
    with pytest.raises(CorruptResult, match="compressionlib='no_such' cannot be imported"):
        read_value(content.replace(b'"zlib"', b'"no_such"'), "here")


def test_an_exception_without_bytes_is_told_from_an_empty_value(storage):
    class Unreadable(Exception):
        def __reduce__(self):
            raise TypeError

    assert isinstance(reread(created(storage, Unreadable("x")), storage), RemoteException)


# --- storage that fails ---------------------------------------------------------------------------------


class Flaky:
    """A storage in memory that can go away."""

    def __init__(self):
        self.files = {}
        self.is_away = False

    def read_path(self, path):
        if self.is_away:
            raise RuntimeError("connection reset")
        if path not in self.files:
            raise FileNotFoundError(path)
        return self.files[path]

    def write_path(self, path, content):
        if self.is_away:
            raise RuntimeError("connection reset")
        self.files[path] = content


def test_a_storage_that_is_not_a_folder_keeps_arrays_too():
    storage = Flaky()
    back = reread(created(storage, np.arange(50_000)), storage)
    back += 1
    assert back[-1] == 50_000


def test_a_storage_that_goes_away_is_named_with_the_way_out():
    storage = Flaky()
    handle = created(storage, [1], cache_result_in_memory=False)
    storage.is_away = True
    with pytest.raises(ResultStorageFailed, match=r"'Flaky: .*' could not be read: RuntimeError: connection reset"):
        handle.get()
    with pytest.raises(ResultStorageFailed, match="could not be written"):
        created(storage, [1])
    storage.is_away = False
    assert handle.get() == [1]
    storage.files.clear()
    with pytest.raises(MissingResult, match="is gone") as caught:
        handle.get()
    assert type(caught.value) is MissingResult


# --- writers --------------------------------------------------------------------------------------------


def test_a_reader_of_a_key_that_several_write_gets_one_of_their_values(storage):
    factory = factory_of(storage, storage_key="shared", cache_result_in_memory=False)
    values = [np.full(30_000, number) for number in range(4)]
    handle = factory.create_result(values[0])
    stop = threading.Event()

    def write(value):
        while not stop.is_set():
            factory.create_result(value)

    threads = [threading.Thread(target=write, args=(value,)) for value in values]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            assert len(np.unique(handle.get())) == 1
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert os.listdir(storage.basepath) == ["shared"]


WRITE_FOR_EVER = """
import sys
import numpy as np
from flowyard.filesystems import LocalFileSystem
from flowyard.results import ResultFactory
from flowyard.serializers import PickleSerializer

storage = LocalFileSystem(basepath=sys.argv[1])
factory = ResultFactory(persist_result=True, storage=storage, serializer=PickleSerializer(), storage_key="shared")
for number in range(1_000_000):
    factory.create_result(np.full(200_000, number))
    if number == 1:
        print("written", flush=True)
"""


def test_a_writer_that_is_killed_leaves_the_old_file_or_the_new_one(storage):
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, storage.basepath], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        with writer.stdout:
            assert writer.stdout.readline() == b"written\n"
            writer.kill()
            writer.wait()
        handle = PersistedResult(storage=storage, storage_key="shared", serializer_type="pickle")
        assert len(np.unique(handle.get())) == 1


def test_the_place_of_a_result_cannot_leave_the_storage(storage, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path.parent)
    for template in ("../{parameters[x]}", "/tmp/{parameters[x]}", "link/{parameters[x]}", "a/../../{parameters[x]}"):
        with pytest.raises(ValueError, match="outside of the base path"):
            factory_of(storage, storage_key=template).create_result([1], ResultOrigin(parameters={"x": 1}))
