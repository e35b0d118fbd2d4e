"""What every file system must do. Subclass `FileSystemContract` in a test module and override its fixture."""

# ruff: noqa: D102  the names of the tests are sentences

from __future__ import annotations

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

from flowyard.filesystems import WritableFileSystem
from flowyard.filesystems.contract import ListedFiles
from flowyard.results.shared_locks import SharedLocks


class FileSystemContract:
    """Files and folders, through the names that all file systems have.

    The fixture returns a block with `read_path`, `write_path`, `get_directory` and `put_directory`, empty, whose base
    is a folder in something larger.
    """

    @pytest.fixture
    def filesystem(self) -> Any:
        """Return an empty file system."""
        raise NotImplementedError("override the fixture `filesystem`")

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return a local folder with files, some of them ignored."""
        folder = tmp_path / "local"
        for name, content in {
            "a.txt": "A",
            "sub/b.py": "B",
            "sub/deep/c.bin": "C",
            "sub/with space and ü.txt": "D",
            "skipped.log": "no",
            "build/x": "no",
            "sub/kept.log": "yes",
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content)
        return folder

    def test_it_is_a_block_with_capabilities(self, filesystem: Any) -> None:
        assert isinstance(filesystem, WritableFileSystem)
        wanted = {"read-path", "write-path", "get-directory", "put-directory"}
        assert wanted <= filesystem.get_block_capabilities()

    def test_what_is_written_can_be_read(self, filesystem: Any) -> None:
        content = bytes(range(256)) * 50
        where = filesystem.write_path("a/b/c", content)
        assert filesystem.read_path("a/b/c") == content
        assert filesystem.read_path(where) == content

    def test_a_file_is_overwritten_and_may_be_empty(self, filesystem: Any) -> None:
        for content in (b"long content", b"short", b""):
            filesystem.write_path("file", content)
            assert filesystem.read_path("file") == content

    def test_a_missing_file_is_reported(self, filesystem: Any) -> None:
        with pytest.raises(FileNotFoundError):
            filesystem.read_path("no-such-file")

    @pytest.mark.parametrize("path", ["../outside", "a/../../outside", "/etc/hosts", "a/../../../../etc/passwd"])
    def test_paths_outside_of_the_base_are_refused(self, filesystem: Any, path: str) -> None:
        for call in (
            lambda: filesystem.read_path(path),
            lambda: filesystem.write_path(path, b""),
            lambda: filesystem.put_directory(to_path=path),
            lambda: filesystem.get_directory(from_path=path),
        ):
            with pytest.raises(ValueError, match=r"outside of the base path .*; give a path inside of it"):
                call()

    def test_a_folder_goes_and_comes_back(self, filesystem: Any, folder: Path, tmp_path: Path) -> None:
        assert filesystem.put_directory(str(folder)) == 7
        assert filesystem.read_path("sub/deep/c.bin") == b"C"
        back = tmp_path / "back"
        filesystem.get_directory(local_path=str(back))
        assert _files(back) == _files(folder)

    def test_part_of_a_folder_comes_back(self, filesystem: Any, folder: Path, tmp_path: Path) -> None:
        filesystem.put_directory(str(folder), "project")
        filesystem.get_directory("project/sub", str(tmp_path / "back"))
        assert sorted(_files(tmp_path / "back")) == ["b.py", "deep/c.bin", "kept.log", "with space and ü.txt"]

    @pytest.mark.parametrize("name", [".flowyardignore", ".prefectignore", "mine"])
    def test_what_the_ignore_file_names_stays(self, filesystem: Any, folder: Path, name: str, tmp_path: Path) -> None:
        (folder / name).write_text("# comment\n*.log\n!sub/kept.log\nbuild/\n")
        filesystem.put_directory(str(folder), "project", ignore_file=name if name == "mine" else None)
        back = tmp_path / "back"
        filesystem.get_directory("project", str(back))
        assert set(_files(folder)) - set(_files(back)) == {"skipped.log", "build/x"}

    def test_a_missing_folder_or_ignore_file_is_reported(self, filesystem: Any, folder: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no-such-file"):
            filesystem.put_directory(str(folder), ignore_file="no-such-file")
        with pytest.raises(FileNotFoundError, match="no-such-folder"):
            filesystem.put_directory(str(folder / "no-such-folder"))
        with pytest.raises(FileNotFoundError, match="no-such-folder"):
            filesystem.get_directory("no-such-folder", str(folder))

    def test_files_are_listed_and_deleted_where_that_is_known(self, filesystem: Any) -> None:
        if not isinstance(filesystem, ListedFiles):
            pytest.skip("this file system has no iter_paths and delete_file: caches and `flowyard gc` do without")
        assert list(filesystem.iter_paths("runs/1")) == []
        for name in ("runs/1/b", "runs/1/sub/a", "runs/10/c"):
            filesystem.write_path(name, b"123")
        assert list(filesystem.iter_paths("runs/1")) == ["runs/1/b", "runs/1/sub/a"]
        assert filesystem.file_size("runs/1/b") == 3
        filesystem.delete_file("runs/1/b")
        filesystem.delete_file("runs/1/b")
        assert list(filesystem.iter_paths("runs/1")) == ["runs/1/sub/a"]
        with pytest.raises(FileNotFoundError):
            filesystem.file_size("runs/1/b")

    def test_locks_of_the_cache_hold_where_files_are_listed(self, filesystem: Any) -> None:
        if not isinstance(filesystem, ListedFiles):
            pytest.skip("this file system has no iter_paths and delete_file: only calls of one flow run wait")
        first, second = SharedLocks(filesystem), SharedLocks(filesystem)
        assert first.acquire("k")
        assert not second.acquire("k")
        assert first.acquire("k")
        first.release("k")
        assert second.acquire("k")
        second.release("k")
        assert list(filesystem.iter_paths("cache")) == []

    def test_async_callers_await(self, filesystem: Any) -> None:
        async def call() -> bytes:
            await filesystem.write_path("async", b"1")
            return await filesystem.read_path("async")

        assert asyncio.run(call()) == b"1"

    def test_it_survives_pickling(self, filesystem: Any) -> None:
        filesystem.write_path("file", b"1")
        assert pickle.loads(pickle.dumps(filesystem)).read_path("file") == b"1"


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
