r"""Packs: small results of one flow run and one process, one after another in one file.

    flowyard-pack/1\n
    <frame: length, checksum of length and content><content: a result file as `blob` makes it> ...

A file for each result costs what making a file costs, which is several times what all the rest of keeping a small
result does. A pack has one writer, which only appends, with one call to the system for each result: what a kill leaves
ends with a frame that is whole or, if the disk was full, with one that is not, and then nothing follows. A result is
found by the offset of its frame, which the reference to it has, or by going through the pack from its beginning.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

import xxhash

from flowyard.exceptions import CorruptResult
from flowyard.filesystems.folder import LocalFiles
from flowyard.results.reading import BinaryFile

LARGEST = 64 * 1024
"""Up to how many bytes, header included, a result goes into a pack."""
SUFFIX = ".pack"
_MAGIC = b"flowyard-pack/1\n"
_FRAME = struct.Struct("<4sIQ")
_MARK = b"\nFYR"
_MOST_OPEN = 16
_SECONDS_BETWEEN_LOOKS = 0.1
_FIRST_READ = 4096
_READ_AT_A_TIME = 1024 * 1024


class Frame(NamedTuple):
    """Where a result is in a pack."""

    key: str
    """Of the pack, in its storage."""
    path: str
    """The absolute path of the pack."""
    offset: int


def _frame(content: bytes) -> bytes:
    return _FRAME.pack(_MARK, len(content), _checksum(content)) + content


def _checksum(content: bytes) -> int:
    # With the length in it a frame of zeros, which power cuts leave, is not a whole one.
    return xxhash.xxh3_64_intdigest(content, len(content))


class PackWriter:
    """One pack, which nobody else writes to. For any thread."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._is_usable = False
        self._descriptor = -1
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            self._descriptor = os.open(path, flags, 0o666)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._descriptor = os.open(path, flags, 0o666)
        self._end = 0
        self._next_look = 0.0
        try:
            self._write(_MAGIC)
        except BaseException:
            self.close()
            raise

    def append(self, content: bytes) -> int | None:
        """Hand a result to the system, and return its offset; None when the pack takes no more: start another one.

        Raises:
            OSError: it could not be written. The pack takes no more.
        """
        frame = _frame(content)
        with self._lock:
            if not self._can_go_on():
                return None
            offset = self._end
            self._write(frame)
            return offset

    def _can_go_on(self) -> bool:
        """Say whether what is written now can be found: not after a fork, or when somebody deleted the file."""
        if not self._is_usable or os.getpid() != self._pid:
            return False
        now = time.monotonic()
        if now >= self._next_look:  # not each time: after a call to the system a thread waits for the interpreter again
            self._next_look = now + _SECONDS_BETWEEN_LOOKS
            return os.fstat(self._descriptor).st_nlink > 0
        return True

    def _write(self, content: bytes) -> None:
        rest = memoryview(content)
        self._is_usable = False  # until all of it is there: nothing may follow a part
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        self._is_usable = True
        self._end += len(content)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._descriptor >= 0:
                self._is_usable = False
                os.close(self._descriptor)
                self._descriptor = -1

    __del__ = close  # a cluster drops its workers without a word


class Packs:
    """The packs that a flow run, or a worker process for several, writes to; of many the last used stay open."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_closed = False
        self._open: OrderedDict[tuple[str | None, UUID], tuple[PackWriter, str, str]] = OrderedDict()

    def append(self, storage: LocalFiles, folder: str, flow_run_id: UUID, content: bytes) -> Frame:
        """Write a result of a flow run to its pack in a storage, and return where it is.

        Raises:
            OSError: it could not be written.
        """
        place = (storage.basepath, flow_run_id)
        while True:
            with self._lock:
                found = self._open.get(place)
                if found is None:
                    key = f"{folder}/{os.urandom(8).hex()}{SUFFIX}"
                    path = str(storage.resolve(key))
                    found = self._open[place] = (PackWriter(path), key, path)
                    closing = self._open.popitem(last=False)[1] if len(self._open) > _MOST_OPEN else None
                else:
                    closing = None
                    self._open.move_to_end(place)
            if closing is not None:
                closing[0].close()
            writer, key, path = found
            try:
                offset = writer.append(content)
            except BaseException:
                self._drop(place, writer)
                raise
            if offset is None or self._is_closed:
                self._drop(place, writer)
            if offset is not None:
                return Frame(key, path, offset)

    def _drop(self, place: tuple[str | None, UUID], writer: PackWriter) -> None:
        with self._lock:
            found = self._open.get(place)
            if found is not None and found[0] is writer:
                del self._open[place]
        writer.close()

    def close(self) -> None:
        """Let go of all files; a result that comes later, from a thread that was given up, has a pack for itself."""
        with self._lock:
            self._is_closed = True
            writers = [found[0] for found in self._open.values()]
            self._open.clear()
        for writer in writers:
            writer.close()


# --- reading ------------------------------------------------------------------------------------------------


def read_frame(file: BinaryFile, offset: int, where: str) -> bytes:
    """Return the result at an offset of a pack.

    Raises:
        CorruptResult: there is none, or it is damaged.
    """
    file.seek(offset)
    found = _read(file, _FIRST_READ, at_least=_FRAME.size)
    if len(found) < _FRAME.size:
        raise CorruptResult(where, f"it ends before the result at {offset}: it was cut off")
    mark, length, wanted = _FRAME.unpack_from(found)
    if mark != _MARK or length > LARGEST:
        raise CorruptResult(where, f"there is no result at {offset}: it was changed or damaged")
    missing = _FRAME.size + length - len(found)
    if missing > 0:
        found += _read(file, missing, at_least=missing)
    content = found[_FRAME.size : _FRAME.size + length]
    if len(content) < length:
        raise CorruptResult(where, f"it ends in the result at {offset}: it was cut off")
    if _checksum(content) != wanted:
        raise CorruptResult(where, f"the checksum of the result at {offset} is wrong: it was changed or damaged")
    return content


def _read(file: BinaryFile, size: int, *, at_least: int) -> bytes:
    found = file.read(size) or b""
    while len(found) < at_least and (more := file.read(size - len(found))):
        found += more
    return found


def iter_frames(file: BinaryFile) -> Iterator[tuple[int, bytes]]:
    """Yield offset and content of every result in a pack, up to the first that is not whole."""
    if _read(file, len(_MAGIC), at_least=len(_MAGIC)) != _MAGIC:
        return
    offset, buffer, begin, has_more = len(_MAGIC), b"", 0, True
    while True:
        if has_more and len(buffer) - begin < _FRAME.size + LARGEST:
            more = file.read(_READ_AT_A_TIME)
            buffer, begin, has_more = buffer[begin:] + (more or b""), 0, bool(more)
            continue
        if len(buffer) - begin < _FRAME.size:
            return
        mark, length, wanted = _FRAME.unpack_from(buffer, begin)
        content = buffer[begin + _FRAME.size : begin + _FRAME.size + length] if length <= LARGEST else b""
        if mark != _MARK or len(content) != length or _checksum(content) != wanted:
            return
        yield offset, content
        offset += _FRAME.size + length
        begin += _FRAME.size + length
