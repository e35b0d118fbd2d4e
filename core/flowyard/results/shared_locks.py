"""Locks on cache keys in storage that is no folder: a bucket, a share, whatever can be listed.

    cache/locks/3f9a.../0198c...-OWNER   a claim: the lock belongs to the claim that is alone
    cache/owners/OWNER                   changes every few seconds, as long as the owner lives

Who wants a lock writes a claim, and then lists. Of two that claim at once at least one sees the other, because what was
written is listed from then on (S3, GCS, Azure and shares all promise that); so never do two of them find themselves
alone. Of those that meet, the earlier claim stays and the others are withdrawn. No store has to know how to create a
file only if it is not there, nor whose clock is right.

An owner whose file has not changed for a minute, by the clock of who looks, is dead, and its claims are removed. A
process that stood still for that long, or could not reach the storage, may find that another executes the same call.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable

from flowyard.filesystems.contract import ListedFiles
from flowyard.logging.loggers import get_logger
from flowyard.results.cache_records import CACHE_FOLDER, record_path
from flowyard.results.storage import read_bytes, write_parts

BEAT_SECONDS = 10.0
DEAD_AFTER_SECONDS = 60.0
_OWNERS = f"{CACHE_FOLDER}/owners"
_LOCKS = f"{CACHE_FOLDER}/locks"


class SharedLocks:
    """The locks that one flow run holds in one storage. For any thread."""

    def __init__(
        self,
        storage: ListedFiles,
        *,
        beat_seconds: float = BEAT_SECONDS,
        dead_after_seconds: float = DEAD_AFTER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._storage = storage
        self._beat_seconds = beat_seconds
        self._dead_after = dead_after_seconds
        self._clock = clock
        self._lock = threading.Lock()
        host = "".join(letter if letter.isalnum() else "_" for letter in socket.gethostname()[:40])
        self._owner = f"{host}_{os.getpid()}_{os.urandom(6).hex()}"
        self._claims: dict[str, str] = {}
        """Of each key that this has claimed, or holds: the path of the claim."""
        self._heart: _Heart | None = None
        self._seen: dict[str, tuple[bytes, float, float]] = {}
        """Of other owners: what their file said, since when, and when it was read last."""

    def acquire(self, key: str) -> bool:
        """Take the lock of a key, a dead owner's too; False when somebody else has it: ask again later.

        A claim may stay for that: `release` withdraws it.
        """
        with self._lock:
            own = self._claims.get(key)
            if own is None:
                if self._others(key, ""):
                    return False
                own = self._claim(key)
            others = self._others(key, own)
            if not others:
                return True
            if min(others) < own:
                self._withdraw(key)
            return False

    def release(self, key: str) -> None:
        """Give a lock back, or withdraw a claim; the record of the key must be in place."""
        with self._lock:
            self._withdraw(key)

    def _claim(self, key: str) -> str:
        if self._heart is None:
            self._heart = _Heart(self._storage, f"{_OWNERS}/{self._owner}", self._beat_seconds)
        path = f"{_folder(key)}/{time.time_ns():016x}-{self._owner}"
        write_parts(self._storage, path, [b"claimed"])
        self._claims[key] = path
        return path

    def _withdraw(self, key: str) -> None:
        path = self._claims.pop(key, None)
        if path is not None:
            self._storage.delete_file(path)
        if not self._claims and self._heart is not None:
            heart, self._heart = self._heart, None
            heart.stop()

    def _others(self, key: str, own: str) -> list[str]:
        """Return the claims of others who live; those of the dead are removed."""
        found: list[str] = []
        for path in self._storage.iter_paths(_folder(key)):
            if path == own:
                continue
            if self._lives(path.rpartition("-")[2]):
                found.append(path)
            else:
                self._storage.delete_file(path)
        return found

    def _lives(self, owner: str) -> bool:
        now = self._clock()
        before = self._seen.get(owner)
        if before is not None and now - before[2] < self._beat_seconds / 2:
            return now - before[1] < self._dead_after
        try:
            content = read_bytes(self._storage, f"{_OWNERS}/{owner}")
        except FileNotFoundError:  # it appears before the first claim of its owner, and goes after the last
            self._seen.pop(owner, None)
            return False
        since = before[1] if before is not None and before[0] == content else now
        self._seen[owner] = content, since, now
        return now - since < self._dead_after


def _folder(key: str) -> str:
    return f"{_LOCKS}/{record_path(key).rpartition('/')[2]}"


class _Heart:
    """Rewrites the file of an owner until it is stopped."""

    def __init__(self, storage: ListedFiles, path: str, seconds: float) -> None:
        self._storage = storage
        self._path = path
        self._seconds = seconds
        self._stopped = threading.Event()
        self._beats = 0
        self._beat()
        self._thread = threading.Thread(target=self._go_on, name="flowyard-cache-locks", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        self._beats += 1
        write_parts(self._storage, self._path, [f"{self._beats}".encode()])

    def _go_on(self) -> None:
        while not self._stopped.wait(self._seconds):
            try:
                self._beat()
            except Exception as error:  # the next one may come through
                get_logger("results").warning("The locks of the cache cannot be renewed: %s", error)

    def stop(self) -> None:
        """Let the owner die."""
        self._stopped.set()
        self._thread.join()
        with contextlib.suppress(FileNotFoundError):
            self._storage.delete_file(self._path)
