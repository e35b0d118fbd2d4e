"""Which files of a local folder are copied: all but those that an ignore file names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

IGNORE_FILES = (".flowyardignore", ".prefectignore")


def files_to_copy(folder: Path, ignore_file: str | None = None) -> list[str]:
    """Return the files of a folder and below as sorted relative paths with slashes.

    Args:
        folder: the folder.
        ignore_file: a file of patterns as in a `.gitignore`, in the folder or elsewhere; None is the one that the
            folder has, if any.

    Raises:
        FileNotFoundError: there is no such folder, or no such ignore file.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r} to copy files from")
    patterns = _patterns(folder, ignore_file)
    return sorted(_walk(folder, patterns))


def _patterns(folder: Path, ignore_file: str | None) -> GitIgnoreSpec:
    if ignore_file is None:
        file = next((folder / name for name in IGNORE_FILES if (folder / name).is_file()), None)
    else:
        file = next((each for each in (folder / ignore_file, Path(ignore_file)) if each.is_file()), None)
        if file is None:
            raise FileNotFoundError(
                f"there is no ignore file {ignore_file!r}, neither in {str(folder)!r} nor here; write it, or leave "
                "`ignore_file` out"
            )
    return GitIgnoreSpec.from_lines(file.read_text("utf-8").splitlines() if file else [])


def _walk(folder: Path, patterns: GitIgnoreSpec) -> Iterator[str]:
    for where, folders, files in os.walk(folder):
        above = Path(where).relative_to(folder)
        # A folder that is ignored is not even looked into.
        folders[:] = [name for name in folders if not patterns.match_file(f"{(above / name).as_posix()}/")]
        for name in files:
            path = (above / name).as_posix()
            # Not sockets, pipes and links to nowhere.
            if not patterns.match_file(path) and (folder / path).is_file():
                yield path
