"""What results need of a storage, whatever it is. Loads nothing: a plain script has no block."""

from __future__ import annotations

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
