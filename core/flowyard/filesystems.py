"""Where files are: the contract of storage, and the local folder."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override


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


@dataclass(frozen=True)
class LocalFileSystem(WritableFileSystem):
    """A folder of this machine.

    Without `basepath` paths are relative to the current folder, and any path is allowed.
    """

    basepath: str | None = None

    def __post_init__(self) -> None:
        if self.basepath is not None:
            object.__setattr__(self, "basepath", str(Path(self.basepath).expanduser()))

    def resolve(self, path: str | os.PathLike[str]) -> Path:
        """Return the absolute path of a file.

        Raises:
            ValueError: it is outside of `basepath` (symbolic links are followed to tell).
        """
        wanted = Path(path).expanduser()
        if self.basepath is None:
            return Path(os.path.abspath(wanted))
        base = Path(self.basepath).resolve()
        resolved = (base / wanted).resolve()  # an absolute `wanted` replaces the base
        if not resolved.is_relative_to(base):
            raise ValueError(f"path {str(path)!r} is outside of the base path {str(base)!r}; give a path inside of it")
        return resolved

    @override
    def read_path(self, path: str) -> bytes:
        return self.resolve(path).read_bytes()

    @override
    def write_path(self, path: str, content: bytes) -> str:
        target = self.resolve(path)
        # A file appears whole or not at all, also when this process is killed. It is not forced to the disk, which
        # takes milliseconds: after a power cut a result may be damaged, its checksum tells, and its task runs again.
        temporary = target.with_name(f".{target.name[:100]}.{os.urandom(6).hex()}.tmp")
        try:
            try:
                temporary.write_bytes(content)
            except FileNotFoundError:  # most files have their folder already: it is made when it is missed
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.write_bytes(content)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        return str(target)

    def iter_paths(self, folder: str) -> Iterator[str]:
        """Yield the files in a folder and below, as paths relative to `basepath`; nothing if there is no folder."""
        base = self.resolve(".")
        for path in sorted(self.resolve(folder).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(base).as_posix()
