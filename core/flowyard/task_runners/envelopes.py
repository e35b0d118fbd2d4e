"""Messages between processes: a small control part in msgpack, and buffers that are never copied into it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from flowyard.exceptions import UnknownWireFormat
from flowyard.schemas.wire import VERSION
from flowyard.schemas.wire_values import unpackb
from flowyard.serializers.buffers import LARGE
from flowyard.task_runners.pickling import Buffer, Pickled

_COUNT = struct.Struct("<I")
_LENGTH = struct.Struct("<Q")


class Envelope(NamedTuple):
    """A message: its control part, and the buffers that it refers to by number."""

    control: Buffer
    buffers: Sequence[Buffer] = ()

    @property
    def nbytes(self) -> int:
        """How many bytes it is, buffers included."""
        return sum(memoryview(part).nbytes for part in (self.control, *self.buffers))

    def to_bytes(self) -> bytes:
        """Return the message in one piece (a copy of every buffer)."""
        parts = (self.control, *self.buffers)
        lengths = b"".join(_LENGTH.pack(memoryview(part).nbytes) for part in parts)
        return b"".join((_COUNT.pack(len(parts)), lengths, *parts))

    @classmethod
    def from_bytes(cls, data: Buffer) -> Envelope:
        """Read what `to_bytes` wrote, without copying the buffers."""
        view = memoryview(data)
        (count,) = _COUNT.unpack_from(view)
        at = _COUNT.size + count * _LENGTH.size
        parts: list[memoryview] = []
        for (length,) in _LENGTH.iter_unpack(view[_COUNT.size : at]):
            parts.append(view[at : at + length])
            at += length
        return cls(parts[0], parts[1:])


def put(value: Pickled, buffers: list[Buffer]) -> Any:
    """Return how a control part refers to a pickle: the bytes themselves if they are few, else numbers of buffers."""
    if not value.buffers and len(value.data) < LARGE:
        return value.data
    first = len(buffers)
    buffers.append(value.data)
    buffers.extend(value.buffers)
    return [first, len(buffers)]


def take(reference: Any, buffers: Sequence[Buffer]) -> Pickled:
    """Return the pickle that `put` referred to."""
    if isinstance(reference, bytes):
        return Pickled(reference)
    first, end = cast("tuple[int, int]", reference)
    return Pickled(buffers[first], buffers[first + 1 : end])


def read_control(data: Buffer) -> list[Any]:
    """Return the fields of a control part; the first is the version.

    Raises:
        UnknownWireFormat: another version of Flowyard packed it.
    """
    wire = cast("list[Any]", unpackb(data))
    if wire[0] != VERSION:
        raise UnknownWireFormat("version", wire[0], VERSION)
    return wire
