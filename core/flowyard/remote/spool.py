"""Files that keep what could not be sent: frames with checksums, in the order in which they are to be sent.

A frame is its length and its CRC-32 (two big-endian 32-bit numbers) and then its content. The first one says whose
spool it is. A file is locked by the process that writes it, as long as it lives.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flowyard.schemas.reports import VERSION, Reporter
from flowyard.services.file_locks import create_locked, lock_file
from flowyard.upcalls.values import pack_value, unpack_value

_logger = logging.getLogger("flowyard.journal")
_HEADER = struct.Struct(">II")
_SUFFIX = ".spool"


@dataclass(frozen=True, slots=True)
class Frame:
    """A request that is to be sent."""

    path: str
    """After the address of the API."""
    packed: bytes
    """The body, as it travels."""


class Spool:
    """The frames of one process. For one thread at a time."""

    def __init__(self, path: Path, url: str, reporter: Reporter) -> None:
        self.path = path
        self.url = url
        self.reporter = reporter
        self._descriptor: int | None = None
        self._begin = 0
        """Where the first frame stands that can be sent."""
        self._read = 0
        self._end = 0
        self._is_synced = True
        self._is_damaged = False
        self.count = 0
        """How many frames wait."""

    @classmethod
    def adopt(cls, path: Path) -> Spool | None:
        """Return the spool of a process that is dead, and lock it; None when somebody has it, or it is nothing."""
        descriptor = lock_file(path)
        if descriptor is None:
            return None
        try:
            spool = cls._opened(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        if spool is None:
            os.close(descriptor)
        return spool

    @classmethod
    def _opened(cls, path: Path, descriptor: int) -> Spool | None:
        header, begin = _header_at_start(descriptor)
        if header is None:
            return None
        spool = cls(path, *header)
        spool._descriptor = descriptor
        spool._begin = spool._read = spool._end = begin
        for _, end in _frames(descriptor, begin):
            spool._end = end
            spool.count += 1
        spool._is_damaged = os.fstat(descriptor).st_size > spool._end
        return spool

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return self.count == 0

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._end - self._read

    def append(self, frame: Frame) -> None:
        """Write a frame at the end; `sync` makes it durable.

        Raises:
            OSError: the disk is full, or the folder cannot be written. The file is as it was before.
        """
        descriptor = self._open()
        content = _framed(pack_value([frame.path, frame.packed]))
        try:
            _write_all(descriptor, content, self._end)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, self._end)
            raise
        self._end += len(content)
        self.count += 1
        self._is_synced = False

    def sync(self) -> None:
        """Return when all frames are on disk, power loss included.

        Raises:
            OSError: they cannot be written.
        """
        if not self._is_synced and self._descriptor is not None:
            os.fsync(self._descriptor)
            self._is_synced = True

    def first(self) -> Frame | None:
        """Return the frame that is to be sent next; None when there is no further one that is whole."""
        if self._descriptor is None:
            return None
        content, _ = _frame_at(self._descriptor, self._read)
        return None if content is None else Frame(*unpack_value(content))

    def drop_first(self) -> None:
        """Forget the first frame: it was sent. A file with nothing left in it becomes short again."""
        assert self._descriptor is not None
        _, self._read = _frame_at(self._descriptor, self._read)
        self.count -= 1
        if self.count <= 0:
            self.count = 0
            if self._is_damaged:
                return
            self._read = self._end = self._begin
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._begin)

    def close(self) -> None:
        """Let go of the file, and delete it if nothing waits in it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if self.is_empty:
            with contextlib.suppress(OSError):
                if self._is_damaged:
                    # The process died while it wrote, or the disk has lost something: people may want to look.
                    aside = self.path.rename(self.path.with_suffix(".damaged"))
                    _logger.error("a part of what process %d kept cannot be read: see %s", self.reporter.pid, aside)
                else:
                    os.unlink(self.path)
        os.close(descriptor)

    def release(self) -> None:
        """Let go of the file as it is."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def forget(self) -> None:
        """Let go of the file of another process, in its forked child."""
        self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = create_locked(self.path, "")
            header = _framed(pack_value([VERSION, self.url, self.reporter]))
            try:
                _write_all(descriptor, header, 0)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(self.path)
                os.close(descriptor)
                raise
            self._descriptor = descriptor
            self._begin = self._read = self._end = len(header)
        return self._descriptor


def spool_path(folder: Path, reporter: Reporter) -> Path:
    """Return the file of a process."""
    return folder / f"{reporter.id}{_SUFFIX}"


def spool_files(folder: Path) -> list[Path]:
    """Return all spools in a folder, oldest first: their names are ids that grow."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


@dataclass(frozen=True, slots=True)
class SpoolSummary:
    """What a spool holds, for people."""

    path: Path
    url: str
    reporter: Reporter
    count: int
    size: int
    unreadable: int
    """Bytes behind the last whole frame: the process died while it wrote, or the file is damaged."""


def summary_of(path: Path) -> SpoolSummary | None:
    """Look into a spool, whoever has it; None when it says nothing."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        header, begin = _header_at_start(descriptor)
        if header is None:
            return None
        ends = [end for _, end in _frames(descriptor, begin)]
        last = ends[-1] if ends else begin
        size = os.fstat(descriptor).st_size
        return SpoolSummary(path, *header, len(ends), last - begin, size - last)
    finally:
        os.close(descriptor)


def frames_of(path: Path) -> Iterator[Frame]:
    """Return the frames of a file, whoever has it."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        header, begin = _header_at_start(descriptor)
        for content, _ in _frames(descriptor, begin) if header is not None else ():
            yield Frame(*unpack_value(content))
    finally:
        os.close(descriptor)


def _header_at_start(descriptor: int) -> tuple[tuple[str, Reporter] | None, int]:
    """Return the server and the process that a spool is of, and where its frames begin; None when it is no spool."""
    content, begin = _frame_at(descriptor, 0)
    if content is None:
        return None, 0
    try:
        version, url, reporter = unpack_value(content)
    except ValueError:  # of another version
        return None, 0
    return ((url, reporter), begin) if version == VERSION else (None, 0)


def _framed(content: bytes) -> bytes:
    return _HEADER.pack(len(content), zlib.crc32(content)) + content


def _frame_at(descriptor: int, offset: int) -> tuple[bytes | None, int]:
    """Return the frame at a place and where it ends; None when there is no whole one."""
    os.lseek(descriptor, offset, os.SEEK_SET)  # `os.pread` is not everywhere
    head = os.read(descriptor, _HEADER.size)
    if len(head) < _HEADER.size:
        return None, offset
    length, checksum = _HEADER.unpack(head)
    begin = offset + _HEADER.size
    # No frame is empty: after a loss of power a file can be full of zeros.
    if not length or begin + length > os.fstat(descriptor).st_size:
        return None, offset
    content = os.read(descriptor, length)
    if len(content) != length or zlib.crc32(content) != checksum:
        return None, offset
    return content, begin + length


def _frames(descriptor: int, offset: int) -> Iterator[tuple[bytes, int]]:
    content, end = _frame_at(descriptor, offset)
    while content is not None:
        yield content, end
        content, end = _frame_at(descriptor, end)


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    os.lseek(descriptor, offset, os.SEEK_SET)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
