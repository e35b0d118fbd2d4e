"""Identifiers: UUIDs of version 7, increasing within a process."""

from __future__ import annotations

import itertools
import os
import threading
import time
from uuid import UUID, SafeUUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_new = object.__new__
_set = object.__setattr__
_UNKNOWN = SafeUUID.unknown


class IdSource:
    """Makes UUIDv7 (RFC 9562 section 5.7) that never go backwards in one process. About 0.7 microseconds an id.

    The ids are numbered on from a random start in the 74 random bits (method 2 of section 6.2), so the common case is
    one addition. A clock that is set back goes on numbering in the latest millisecond it had reached.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = itertools.count()
        self._start()
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._after_fork)

    def _start(self) -> None:
        # The top random bit stays clear: no process makes enough ids to run over into the next millisecond.
        bits = int.from_bytes(os.urandom(9))
        spread = ((bits >> 61) << 64) | (bits & ((1 << 61) - 1))
        self._epoch = (0, _VERSION_AND_VARIANT | spread)
        """The latest millisecond, and its first id as a number."""

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        self._start()

    def _begin(self, millisecond: int) -> int:
        """Return the first id of a millisecond, as a number, and make it the latest one."""
        with self._lock:
            latest, base = self._epoch
            if millisecond > latest:
                self._epoch = (millisecond, base + ((millisecond - latest) << 80))
            return self._epoch[1]

    def __call__(self) -> UUID:
        """Return an id greater than those this process made before."""
        millisecond = time.time_ns() // 1_000_000
        latest, base = self._epoch
        if millisecond > latest:
            base = self._begin(millisecond)
        # UUID(int=...) checks its argument twice and costs as much again as everything above.
        made = _new(UUID)
        _set(made, "int", base + next(self._count))
        _set(made, "is_safe", _UNKNOWN)
        return made


new_id = IdSource()


def as_id(given: UUID | str) -> UUID:
    """Return an id that may be text, as `flowyard.runtime` has it.

    Raises:
        ValueError: it is no UUID.
    """
    return given if isinstance(given, UUID) else UUID(given)
