"""The block of a folder of this machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from flowyard.duality import dual
from flowyard.filesystems.base import FileSystemBlock
from flowyard.filesystems.folder import LocalFiles
from flowyard.filesystems.ignoring import files_to_copy


class LocalFileSystem(LocalFiles, FileSystemBlock):
    """A folder of this machine.

    Without `basepath` paths are relative to the current folder, and any path is allowed.

    Example:
        from flowyard.filesystems import LocalFileSystem

        LocalFileSystem(basepath="~/data").save("data")
        content = LocalFileSystem.load("data").read_path("report.csv")
    """

    _block_type_name: ClassVar[str | None] = "Local File System"
    _is_protected: ClassVar[bool] = True

    basepath: str | None = None

    @override
    def block_initialization(self) -> None:
        if self.basepath is not None:
            self.basepath = str(Path(self.basepath).expanduser())

    @dual
    @override
    def put_directory(
        self, local_path: str | None = None, to_path: str | None = None, ignore_file: str | None = None
    ) -> int:
        return self._put(local_path, to_path, ignore_file)

    @override
    def _get(self, from_path: str | None, local_path: str | None) -> None:
        source = self.resolve(from_path or ".")
        target = Path(local_path or ".").expanduser().resolve()
        if source.resolve() == target:
            return
        for path in files_to_copy(source):
            # Again for each file: one may be a link that leads out.
            _copy(self.resolve(source / path), target / path)

    def _put(self, local_path: str | None, to_path: str | None, ignore_file: str | None) -> int:
        source = Path(local_path or ".").expanduser().resolve()
        target = self.resolve(to_path or ".")
        paths = files_to_copy(source, ignore_file)
        if source != target.resolve():
            for path in paths:
                _copy(source / path, self.resolve(target / path))
        return len(paths)

    @override
    def __eq__(self, other: object) -> bool:
        return self.basepath == other.basepath if isinstance(other, LocalFiles) else NotImplemented

    @override
    def __hash__(self) -> int:
        return hash(self.basepath)


def _copy(source: Path, target: Path) -> Any:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
