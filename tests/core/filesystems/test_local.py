from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest

from flowyard.filesystems import LocalFileSystem


@pytest.fixture
def storage(tmp_path):
    return LocalFileSystem(basepath=str(tmp_path / "base"))


def test_what_is_written_can_be_read(storage):
    where = storage.write_path("a/b/c", b"content")
    assert Path(where).read_bytes() == b"content"
    assert storage.read_path("a/b/c") == b"content"
    assert storage.read_path(where) == b"content"


def test_a_file_is_overwritten_and_nothing_else_is_left(storage):
    storage.write_path("file", b"one")
    storage.write_path("file", b"two")
    assert storage.read_path("file") == b"two"
    assert os.listdir(storage.basepath) == ["file"]


def test_a_missing_file_is_reported_with_its_path(storage):
    with pytest.raises(FileNotFoundError, match="no-such"):
        storage.read_path("no-such")


@pytest.mark.parametrize("path", ["../outside", "a/../../outside", "/etc/hosts"])
def test_paths_outside_of_the_base_are_refused(storage, path):
    with pytest.raises(ValueError, match=r"outside of the base path .*base'; give a path inside"):
        storage.read_path(path)
    with pytest.raises(ValueError, match="outside of the base path"):
        storage.write_path(path, b"")


def test_a_link_out_of_the_base_is_refused(storage, tmp_path):
    storage.write_path("file", b"")
    (tmp_path / "secret").write_text("secret")
    Path(storage.basepath, "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="outside of the base path"):
        storage.read_path("link/secret")


def test_without_a_base_any_path_is_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LocalFileSystem().write_path("here", b"1")
    assert LocalFileSystem().read_path(str(tmp_path / "here")) == b"1"


def test_a_home_folder_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LocalFileSystem(basepath="~/x").basepath == str(tmp_path / "x")


def test_a_failed_write_leaves_the_old_content_and_no_other_file(storage, monkeypatch):
    storage.write_path("file", b"old")

    write = os.write

    def full(descriptor, content):
        write(descriptor, content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        storage.write_path("file", b"new")
    assert storage.read_path("file") == b"old"
    assert os.listdir(storage.basepath) == ["file"]


def test_a_file_is_written_from_several_pieces(storage):
    storage.write_file("folder/file", [b"ab", memoryview(b"cd"), bytearray(b"ef")])
    assert storage.read_path("folder/file") == b"abcdef"


def test_deleting_a_file_twice_is_no_error(storage):
    storage.write_path("file", b"1")
    storage.delete_file("file")
    storage.delete_file("file")
    assert os.listdir(storage.basepath) == []


def test_a_reader_never_sees_a_part(storage):
    contents = [bytes([n]) * 50_000 for n in range(4)]
    storage.write_path("file", contents[0])
    done = threading.Event()

    def write():
        for n in range(60):
            storage.write_path("file", contents[n % 4])
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        assert storage.read_path("file") in contents
    thread.join()


def test_files_of_a_folder_are_listed_without_temporary_ones(storage):
    storage.write_path("runs/1/tasks/b/0", b"")
    storage.write_path("runs/1/flow", b"")
    storage.write_path("runs/2/flow", b"")
    Path(storage.basepath, "runs/1/.flow.123.tmp").write_bytes(b"")
    assert list(storage.iter_paths("runs/1")) == ["runs/1/flow", "runs/1/tasks/b/0"]
    assert list(storage.iter_paths("runs/3")) == []


def test_equal_bases_are_equal_storages_and_survive_pickling(storage):
    assert LocalFileSystem(basepath=storage.basepath) == storage
    assert pickle.loads(pickle.dumps(storage)) == storage
    assert hash(storage) == hash(LocalFileSystem(basepath=storage.basepath))
