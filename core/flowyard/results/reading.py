"""From the file of a persisted result to its value."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from typing import Any, Protocol

from flowyard.exceptions import CorruptResult, RemoteException, UnknownPlugin
from flowyard.results.blob import LONGEST_HEADER, BlobHeader, checksum, places_of, read_header
from flowyard.serializers.base import Serializer
from flowyard.serializers.registry import serializer_from_record

_FIRST_READ = 64 * 1024


class BinaryFile(Protocol):
    """What is needed of an open file."""

    def read(self, size: int = -1, /) -> bytes | None: ...  # noqa: D102
    def readinto(self, buffer: Any, /) -> int | None: ...  # noqa: D102
    def seek(self, offset: int, whence: int = 0, /) -> int: ...  # noqa: D102


class Opened:
    """A result file whose header was read.

    Raises (when it is made):
        CorruptResult: this is no result file, it is cut off, or (with a key) its signature is missing or wrong.
    """

    def __init__(self, file: BinaryFile, where: str, signing_key: str | None) -> None:
        self._file = file
        self._where = where
        self._head = file.read(_FIRST_READ) or b""
        while b"\n" not in self._head and len(self._head) < LONGEST_HEADER:
            more = file.read(_FIRST_READ)
            if not more:
                break
            self._head += more
        self.header: BlobHeader = read_header(self._head, where, signing_key)
        self._is_signed = signing_key is not None
        try:
            self._places = places_of(self.header, self._head.index(b"\n") + 1)
            size, wanted = file.seek(0, 2), self._places[-1][1]
        except (TypeError, IndexError) as error:
            raise CorruptResult(where, f"its header is damaged ({error})") from error
        if size != wanted:
            raise CorruptResult(where, f"it has {size} bytes instead of {wanted}: it was cut off or changed")

    @property
    def is_small(self) -> bool:
        """Whether the whole file is in memory already: `verify` then costs nothing."""
        return self._places[-1][1] <= len(self._head)

    def verify(self) -> list[Any]:
        """Return the pieces of the value, after a look at their checksum: first `bytes`, then writable buffers.

        Raises:
            CorruptResult: the checksum is wrong.
        """
        parts: list[Any] = [self._part(number, *place) for number, place in enumerate(self._places)]
        wanted = self.header.checksum
        algorithm = wanted.partition(":")[0]
        if algorithm not in ("xxh3", "blake2b") or (self._is_signed and algorithm != "blake2b"):
            raise CorruptResult(self._where, f"its checksum {wanted!r} is of a kind that is not accepted here")
        if checksum(parts, algorithm) != wanted:
            raise CorruptResult(self._where, "its checksum is wrong: it was changed or damaged")
        return parts

    def _part(self, number: int, begin: int, end: int) -> Any:
        if number == 0 and end <= len(self._head):
            return self._head[begin:end]
        self._file.seek(begin)
        if number == 0:
            return self._first_part(begin, end)
        # Anonymous memory comes zeroed when it is touched; a bytearray would be zeroed before it is filled.
        view = memoryview(mmap.mmap(-1, end - begin))
        filled = 0
        while filled < end - begin:
            count = self._file.readinto(view[filled:])
            if not count:
                raise self._cut_off(begin + filled)
            filled += count
        return view

    def _first_part(self, begin: int, end: int) -> bytes:
        chunks: list[bytes] = []
        while begin < end:
            chunk = self._file.read(end - begin)  # at most 2 GiB at a time
            if not chunk:
                raise self._cut_off(begin)
            begin += len(chunk)
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _cut_off(self, size: int) -> CorruptResult:
        return CorruptResult(self._where, f"it ends after {size} bytes: it was cut off while it was read")

    def value(self) -> Any:
        """Return the value; an exception that cannot be made again comes back as `RemoteException`.

        Raises:
            CorruptResult: the file is damaged, or its bytes cannot be read here.
        """
        header = self.header
        parts = self.verify()
        if header.exception is not None and not header.size:
            return _stand_in(header.exception)
        return _load(header, parts, self._where)


def _load(header: BlobHeader, parts: Sequence[Any], where: str) -> Any:
    try:
        return _serializer_of(header.serializer).load_parts(parts)
    except UnknownPlugin as error:
        raise CorruptResult(where, str(error)) from error
    except Exception as error:
        if header.exception is not None:
            return _stand_in(header.exception)
        raise CorruptResult(
            where, f"{header.serializer.get('type')} cannot read it here ({type(error).__name__}: {error})"
        ) from error


def _serializer_of(record: dict[str, Any]) -> Serializer:
    facts = tuple(record.items())
    try:
        return _made(facts)
    except TypeError:  # it has a serializer within, or options that are no texts
        return serializer_from_record(record)


# The results of a flow are mostly written by one and the same: 3 microseconds each.
@lru_cache(16)
def _made(facts: tuple[tuple[str, Any], ...]) -> Serializer:
    return serializer_from_record(dict(facts))


def _stand_in(description: dict[str, str]) -> RemoteException:
    return RemoteException(description["type"], description["message"], description.get("traceback", ""))


def read_value(blob: bytes, where: str, signing_key: str | None = None) -> Any:
    """Return the value in a result file.

    Raises:
        CorruptResult: the file is damaged or not signed as it must be, or its bytes cannot be read here; names the
        file.
    """
    return Opened(BytesIO(blob), where, signing_key).value()
