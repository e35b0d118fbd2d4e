"""What results need of a storage, whatever it is. Loads nothing: a plain script has no block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ReadableFiles(Protocol):
    """Files that can be read by their path. The method may be plain, `async def` or one of the dual helpers."""

    def read_path(self, path: str) -> Any:
        """Return the bytes of the file at `path`, which is relative to the storage's own base.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...


@runtime_checkable
class WritableFiles(ReadableFiles, Protocol):
    """Files that can be read and written by their path."""

    def write_path(self, path: str, content: bytes) -> Any:
        """Write a file, and the folders it is in; may return where it is.

        A reader sees the old content or the new, never a part.
        """
        ...


@runtime_checkable
class ListedFiles(WritableFiles, Protocol):
    """Files that can be listed and deleted too: folders, and whatever fsspec reaches. These methods block."""

    def iter_paths(self, folder: str) -> Iterator[str]:
        """Yield the files in a folder and below, as paths relative to the storage's own base.

        A file whose writing ended before is there; nothing if there is no folder.
        """
        ...

    def delete_file(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        ...

    def file_size(self, path: str) -> int:
        """Return how many bytes a file has.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...
