"""The contract of storage: blocks that files and folders are read from and written to.

A subclass may define its methods as plain, as `async def`, or with both colours.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from typing_extensions import override

from flowyard.blocks.core import Block
from flowyard.duality import dual


class ReadableFileSystem(Block, ABC):
    """Files that can be read."""

    _block_schema_capabilities: ClassVar[list[str] | None] = ["read-path"]

    @abstractmethod
    def read_path(self, path: str) -> Any:
        """Return the content of the file at `path`, which is relative to the file system's own base.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is outside of the base.
        """


class WritableFileSystem(ReadableFileSystem, ABC):
    """Files that can be read and written."""

    _block_schema_capabilities: ClassVar[list[str] | None] = ["read-path", "write-path"]

    @abstractmethod
    def write_path(self, path: str, content: bytes) -> Any:
        """Write a file, and the folders it is in; may return where it is.

        A reader sees the old content or the new, never a part.

        Raises:
            ValueError: it is outside of the base.
        """


class ReadableDeploymentStorage(Block, ABC):
    """A place that folders come from."""

    _block_schema_capabilities: ClassVar[list[str] | None] = ["get-directory"]

    @abstractmethod
    def get_directory(self, from_path: str | None = None, local_path: str | None = None) -> Any:
        """Copy what is in a folder into a local one.

        Args:
            from_path: the folder, relative to the base; None is the base.
            local_path: where to; None is the current folder. Files that are there and have other names stay.

        Raises:
            ValueError: the folder, or a file in it, is outside of the base or would be outside of `local_path`.
        """


class WritableDeploymentStorage(ReadableDeploymentStorage, ABC):
    """A place that folders come from and go to."""

    _block_schema_capabilities: ClassVar[list[str] | None] = ["get-directory", "put-directory"]

    @abstractmethod
    def put_directory(
        self, local_path: str | None = None, to_path: str | None = None, ignore_file: str | None = None
    ) -> Any:
        """Copy what is in a local folder here, without what its ignore file names; return the number of files.

        Args:
            local_path: the folder; None is the current one.
            to_path: where to, relative to the base; None is the base.
            ignore_file: patterns as in a `.gitignore`; None is `.flowyardignore`, else `.prefectignore`, of the
                folder, if it has one.

        Raises:
            FileNotFoundError: there is no such folder, or no such ignore file.
            ValueError: `to_path` is outside of the base.
        """


class FileSystemBlock(WritableFileSystem, WritableDeploymentStorage, ABC):
    """The methods in both colours of a block whose work is done by plain, blocking ones."""

    @abstractmethod
    def read_file(self, path: str) -> bytes:
        """Do what `read_path` does; blocks, whatever the colour of the caller."""

    @abstractmethod
    def write_file(self, path: str, content: bytes) -> str:
        """Do what `write_path` does, and return where the file is; blocks, whatever the colour of the caller."""

    @abstractmethod
    def _get(self, from_path: str | None, local_path: str | None) -> None: ...

    @dual
    @override
    def read_path(self, path: str) -> bytes:
        return self.read_file(path)

    @dual
    @override
    def write_path(self, path: str, content: bytes) -> str:
        return self.write_file(path, content)

    @dual
    @override
    def get_directory(self, from_path: str | None = None, local_path: str | None = None) -> None:
        self._get(from_path, local_path)
