"""Locks on files that the operating system frees when their holder dies."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, *, is_exclusive: bool) -> None:
        # Windows has no shared lock here: two processes that look at the same moment see the file as held.
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int, *, is_exclusive: bool) -> None:
        kind = fcntl.LOCK_EX if is_exclusive else fcntl.LOCK_SH
        fcntl.lockf(descriptor, kind | fcntl.LOCK_NB)


def create_locked(path: Path, content: str) -> int:
    """Create a file and lock it; return the descriptor that holds the lock.

    It is a POSIX record lock: a forked child does not inherit it, and *any* close of the file by this process frees it,
    so this process must never open the file again.

    Raises:
        OSError: the file cannot be made or locked. One that stays empty, because the disk is full, is no error.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        _lock(descriptor, is_exclusive=True)
    except OSError:
        os.close(descriptor)
        raise
    # The lock is what counts. The text is for people, and on a full disk they must still be able to look.
    with contextlib.suppress(OSError):
        os.write(descriptor, content.encode())
    return descriptor


def lock_file(path: Path) -> int | None:
    """Lock a file that exists, for reading and writing, and return its descriptor; None when another process has it.

    This process must not open the file again, see `create_locked`.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None
    try:
        _lock(descriptor, is_exclusive=True)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def is_locked(path: Path) -> bool | None:
    """Say whether another process holds the lock on a file; None when there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    except OSError:
        return True  # it is there and cannot be looked at: nobody is declared dead on a guess
    try:
        # A shared lock, so that two processes that look at the same time do not take each other for the owner.
        _lock(descriptor, is_exclusive=False)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
