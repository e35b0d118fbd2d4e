"""A folder of this machine without the machinery of blocks: what results use, and what `LocalFileSystem` has in it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

_SMALL = 64 * 1024


class LocalFiles:
    """The files below `basepath`; without it paths are relative to the current folder, and any path is allowed."""

    basepath: str | None

    def resolve(self, path: str | os.PathLike[str]) -> Path:
        """Return the absolute path of a file.

        Raises:
            ValueError: it is outside of `basepath` (symbolic links are followed to tell).
        """
        plain = None if self.basepath is None else _plain_path(self.basepath, path)
        if plain is not None:
            return Path(plain)
        wanted = Path(path).expanduser()
        if self.basepath is None:
            return Path(os.path.abspath(wanted))
        base = Path(self.basepath).expanduser().resolve()
        resolved = (base / wanted).resolve()  # an absolute `wanted` replaces the base
        if not resolved.is_relative_to(base):
            raise ValueError(f"path {str(path)!r} is outside of the base path {str(base)!r}; give a path inside of it")
        return resolved

    def read_file(self, path: str) -> bytes:
        """Return the content of a file; blocks, whatever the colour of the caller.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is outside of `basepath`.
        """
        return self.resolve(path).read_bytes()

    def _place(self, path: str) -> str:
        """Return what `resolve` does, as text: a `Path` takes longer to make than its file to find."""
        plain = None if self.basepath is None else _plain_path(self.basepath, path)
        return str(self.resolve(path)) if plain is None else plain

    def open_file(self, path: str) -> FileIO:
        """Open a file for reading, without a buffer.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is outside of `basepath`.
        """
        return FileIO(self._place(path))

    def write_file(self, path: str, content: bytes | Sequence[bytes | bytearray | memoryview]) -> str:
        """Write a file, from one piece or several, and return where it is; blocks, whatever the colour of the caller.

        Raises:
            ValueError: it is outside of `basepath`.
        """
        target = self._place(path)
        parts = [content] if isinstance(content, bytes) else content
        if len(parts) > 1 and sum(memoryview(part).nbytes for part in parts) <= _SMALL:
            parts = [b"".join(parts)]  # a call to the system costs more than a copy
        # A file appears whole or not at all, also when this process is killed. It is not forced to the disk, which
        # takes milliseconds: after a power cut a result may be damaged, its checksum tells, and its task runs again.
        folder, name = os.path.split(target)
        temporary = f"{folder}/.{name[:100]}.{os.urandom(6).hex()}.tmp"
        try:
            try:
                _write(temporary, parts)
            except FileNotFoundError:  # most files have their folder already: it is made when it is missed
                os.makedirs(folder, exist_ok=True)
                _write(temporary, parts)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        return target

    def delete_file(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.resolve(path))

    def file_size(self, path: str) -> int:
        """Return how many bytes a file has.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return self.resolve(path).stat().st_size

    def iter_paths(self, folder: str) -> Iterator[str]:
        """Yield the files in a folder and below, as paths relative to `basepath`; nothing if there is no folder."""
        base = self.resolve(".")
        for path in sorted(self.resolve(folder).rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                yield path.relative_to(base).as_posix()


def _write(path: str, parts: Sequence[bytes | bytearray | memoryview]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        for part in parts:
            rest = memoryview(part).cast("B")
            while rest:  # one call writes 2 GiB at most
                rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def _plain_path(base: str, path: str | os.PathLike[str]) -> str | None:
    """Return the absolute path of a file below a folder if that takes no thought, else None.

    Results are written and read by such paths, and `Path.resolve` takes 100 microseconds where this takes 10.
    """
    if not isinstance(path, str) or os.name != "posix":
        return None
    names = path.split("/")
    if "" in names or "." in names or ".." in names or path.startswith("~"):
        return None
    found = os.path.abspath(os.path.expanduser(base))
    is_there = True
    for name in names:
        found = f"{found}/{name}"
        if is_there:
            try:
                if stat.S_ISLNK(os.lstat(found).st_mode):
                    return None
            except OSError:  # it is not there yet, and nothing in it
                is_there = False
    return found


@dataclass(frozen=True, eq=False)
class Folder(LocalFiles):
    """A folder as a storage for results. Equal to every other storage of the same folder, blocks included."""

    basepath: str | None = None

    def __post_init__(self) -> None:
        if self.basepath is not None:
            object.__setattr__(self, "basepath", str(Path(self.basepath).expanduser()))

    read_path = LocalFiles.read_file
    write_path = LocalFiles.write_file

    def __eq__(self, other: object) -> bool:
        return self.basepath == other.basepath if isinstance(other, LocalFiles) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.basepath)
