"""Locks on cache keys, held across processes: equal calls that run at once execute once.

Beside the record of a key stands a lock file with the name of its owner. Each owner is a process that holds an
operating-system lock on a file of its own, which the kernel frees when the process dies, whatever it died of: no
heartbeat can fail. The lock of a dead owner is taken over.

    cache/3f/.3f9a....lock      owner's name
    cache/owners/.host-4711-...  locked by the owner as long as it lives
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

from flowyard.filesystems.folder import LocalFiles
from flowyard.results.cache_records import CACHE_FOLDER, record_path

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        # Of the open file, not of the process: a look from the same process tells the truth, and frees nothing.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_TAKE_OVER_SECONDS = 0.01


class CacheLocks:
    """The locks that one flow run holds in one folder. For any thread."""

    def __init__(self, storage: LocalFiles) -> None:
        self._storage = storage
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        host = "".join(letter if letter.isalnum() else "_" for letter in socket.gethostname()[:40])
        self._name = f".{host}-{os.getpid()}-{os.urandom(6).hex()}"
        self._held: set[str] = set()

    def acquire(self, key: str) -> bool:
        """Take the lock of a key, a dead owner's too; False when somebody who lives has it.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self._path(key)
        with self._lock:
            if self._descriptor is None:
                self._descriptor = self._appear()
            own = path.with_name(f"{path.name}.{os.urandom(6).hex()}.tmp")
            path.parent.mkdir(parents=True, exist_ok=True)
            own.write_text(self._name)
            try:
                taken = self._place(own, path)
            finally:
                own.unlink(missing_ok=True)
            if taken:
                self._held.add(key)
        if not taken:
            self.release(key)  # nothing to give back, but the owner's file if it has no other use
        return taken

    def release(self, key: str) -> None:
        """Give a lock back; the record of the key must be in place. With the last one the owner's file goes too."""
        with self._lock:
            if key in self._held:
                self._held.discard(key)
                self._path(key).unlink(missing_ok=True)
            if not self._held and self._descriptor is not None:
                self._owners().joinpath(self._name).unlink(missing_ok=True)
                os.close(self._descriptor)
                self._descriptor = None

    def close(self) -> None:
        """Give everything back."""
        for key in list(self._held):
            self.release(key)

    def _path(self, key: str) -> Path:
        record = self._storage.resolve(record_path(key))
        return record.with_name(f".{record.name}.lock")

    def _owners(self) -> Path:
        return self._storage.resolve(f"{CACHE_FOLDER}/owners")

    def _appear(self) -> int:
        """Make this owner's own file, and lock it."""
        folder = self._owners()
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / self._name, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        _lock(descriptor)
        return descriptor

    def _place(self, own: Path, path: Path) -> bool:
        try:
            os.link(own, path)  # fails if it is there, and never shows half a file
        except FileExistsError:
            pass
        else:
            return True
        owner = _read(path)
        if owner is None or self._lives(owner):
            return False
        with self._taking_over() as alone:
            # Nobody but a process that holds this may replace the lock of the dead, so what is read now stays true.
            if not alone or _read(path) != owner:
                return False
            os.replace(own, path)
            self._owners().joinpath(owner).unlink(missing_ok=True)
            return True

    def _lives(self, owner: str) -> bool:
        try:
            descriptor = os.open(self._owners() / owner, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return False
        except OSError:
            return True  # nobody is declared dead on a guess
        try:
            _lock(descriptor)
        except OSError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _taking_over(self) -> Generator[bool]:
        descriptor = os.open(self._owners() / ".take-over", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            try:
                _lock(descriptor)
            except OSError:
                time.sleep(_TAKE_OVER_SECONDS)
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _read(path: Path) -> str | None:
    """Return the owner of a lock; None when it was given back just now."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
