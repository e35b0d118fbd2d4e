"""The contract of storage that users write themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod


class ReadableFileSystem(ABC):
    """Files that can be read. A subclass may define `read_path` as a plain or an `async def` method."""

    @abstractmethod
    def read_path(self, path: str) -> bytes:
        """Return the content of the file at `path`, which is relative to the file system's own base.

        Raises:
            FileNotFoundError: there is no such file.
        """


class WritableFileSystem(ReadableFileSystem):
    """Files that can be read and written."""

    @abstractmethod
    def write_path(self, path: str, content: bytes) -> str | None:
        """Write a file, and the folders it is in; may return where it is.

        A reader sees the old content or the new, never a part.
        """


class ReadableDeploymentStorage(ABC):
    """A place that folders come from."""

    @abstractmethod
    def get_directory(self, from_path: str | None = None, local_path: str | None = None) -> None:
        """Copy a folder into a local one."""


class WritableDeploymentStorage(ReadableDeploymentStorage):
    """A place that folders come from and go to."""

    @abstractmethod
    def put_directory(
        self, local_path: str | None = None, to_path: str | None = None, ignore_file: str | None = None
    ) -> None:
        """Copy a local folder here, without what the ignore file names."""
