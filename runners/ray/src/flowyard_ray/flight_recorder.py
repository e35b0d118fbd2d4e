"""What a worker leaves behind when it dies amid calls that were gathered: how far it was, and what had ended.

A file that is mapped into the worker's memory: to write there costs no system call, and it survives `kill -9`. Nobody
asked for these calls to be together, so one that kills its worker must not take the others along.
"""

from __future__ import annotations

import atexit
import contextlib
import mmap
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import ray._private.worker as ray_worker

_BYTES = 256 * 1024
_HEAD = struct.Struct("<QII")
_LENGTH = struct.Struct("<I")
_SUFFIX = ".calls"


class Left(NamedTuple):
    """What was found of a piece of work."""

    begun: int
    """How many of its calls had begun, from the first on."""
    reports: list[bytes]
    """Of those that had ended, from the first on; the last ones are missing when there was no room."""


class FlightRecorder:
    """The file of this worker process."""

    def __init__(self) -> None:
        folder = _folder()
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{os.getpid()}{_SUFFIX}"
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _BYTES)
            self._map = mmap.mmap(descriptor, _BYTES)
        finally:
            os.close(descriptor)
        atexit.register(self._path.unlink, missing_ok=True)
        self._token = 0
        self._begun = 0
        self._end = 0
        self._is_full = False

    def take_off(self, token: int) -> None:
        """Begin with the piece of work whose first call has this token."""
        self._token, self._begun, self._end, self._is_full = token, 0, _HEAD.size, False
        self._note()

    def begin(self) -> None:
        """Note that the next call begins."""
        self._begun += 1
        self._note()

    def ended(self, report: bytes | None) -> None:
        """Note how the call that began last ended; None when that cannot be told in a few bytes."""
        end = 0 if report is None else self._end + _LENGTH.size + len(report)
        if report is None or end > _BYTES:
            # What followed would be taken for the report of this call.
            self._is_full = True
        if report is not None and not self._is_full:
            _LENGTH.pack_into(self._map, self._end, len(report))
            self._map[self._end + _LENGTH.size : end] = report
            self._end = end
            self._note()

    def land(self) -> None:
        """Note that the piece of work is done."""
        self._token = 0
        self._note()

    def _note(self) -> None:
        _HEAD.pack_into(self._map, 0, self._token, self._begun, self._end)


def read_record(token: int) -> Left | None:
    """Return what a worker of this node left of a piece of work; None when none of them had it."""
    for path in _files():
        with contextlib.suppress(OSError), path.open("rb") as file:
            head = file.read(_HEAD.size)
            found, begun, end = _HEAD.unpack(head)
            if found == token:
                reports = list(_reports(file.read(max(0, min(end, _BYTES) - _HEAD.size))))
                path.unlink()
                return Left(begun, reports)
    return None


def _reports(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size + length
        yield data[at - length : at]


def _folder() -> Path:
    """Return where the workers of this node have their files: with the logs of the Ray session."""
    node = ray_worker._global_node  # pyright: ignore[reportPrivateUsage]
    session = None if node is None else node.get_session_dir_path()
    return Path(session or tempfile.gettempdir(), "flowyard")


def _files() -> list[Path]:
    return list(_folder().glob(f"*{_SUFFIX}"))
