"""A folder of this machine without the machinery of blocks: what results use, and what `LocalFileSystem` has in it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class LocalFiles:
    """The files below `basepath`; without it paths are relative to the current folder, and any path is allowed."""

    basepath: str | None

    def resolve(self, path: str | os.PathLike[str]) -> Path:
        """Return the absolute path of a file.

        Raises:
            ValueError: it is outside of `basepath` (symbolic links are followed to tell).
        """
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

    def write_file(self, path: str, content: bytes) -> str:
        """Write a file and return where it is; blocks, whatever the colour of the caller.

        Raises:
            ValueError: it is outside of `basepath`.
        """
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
