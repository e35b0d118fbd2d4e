"""The ids of log lines."""

from __future__ import annotations

import os
from uuid import UUID

NO_FLOW_RUN = UUID(int=0)
_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_SEQUENCE_BITS = 22
_HIGHEST_LEVEL = 2**15 - 1


def first_id(microseconds: int) -> UUID:
    """Return an id that no line of that time or later comes before, and no earlier line after."""
    return UUID(int=max(microseconds // 1000, 0) << 80)


def storable_level(level: int) -> int:
    """Return a log level as the column takes it: a line is kept whatever its level."""
    return level if -_HIGHEST_LEVEL <= level <= _HIGHEST_LEVEL else max(min(level, _HIGHEST_LEVEL), -_HIGHEST_LEVEL)


class LogIds:
    """Makes ids of log lines: UUIDv7 from the line's own time, so that the order of ids is the order of time.

    Lines of the same microsecond keep the order in which they came, and so do all from before 1970. One thread only.
    """

    def __init__(self) -> None:
        self._random = int.from_bytes(os.urandom(5))
        self._sequence = 0

    def __call__(self, microseconds: int) -> int:
        """Return the 128 bits of an id for a line of that time."""
        self._sequence = (self._sequence + 1) & ((1 << _SEQUENCE_BITS) - 1)
        milliseconds, rest = divmod(max(microseconds, 0), 1000)
        low = (self._sequence << 40) | self._random
        return (milliseconds << 80) | (((rest << 12) // 1000) << 64) | low | _VERSION_AND_VARIANT
