"""Frames over a socket pair: many small ones per system call, large buffers without a copy in between.

A frame is an `Envelope`: the length of its control part and the number of its buffers (32 bits each), the lengths of
the buffers (64 bits each), then the parts themselves.
"""

from __future__ import annotations

import socket
import struct
from collections import deque

from flowyard.task_runners.envelopes import Envelope

_HEAD = struct.Struct("<II")
_LENGTH = struct.Struct("<Q")
_READ_BYTES = 256 * 1024
_MOST_PARTS = 512  # of one sendmsg; the limit of Linux is 1024


def frame(envelope: Envelope) -> list[memoryview]:
    """Return the parts of a frame, in the order in which they are written."""
    control, buffers = envelope
    head = _HEAD.pack(len(control), len(buffers))
    if not buffers:
        return [memoryview(head + bytes(control))]
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    lengths = b"".join(_LENGTH.pack(view.nbytes) for view in views)
    return [memoryview(b"".join((head, lengths, control))), *(view for view in views if view.nbytes)]


class FrameReader:
    """Takes frames out of a socket, as many as have come."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._scratch = memoryview(bytearray(_READ_BYTES))
        self._data = bytearray()
        """Bytes that are not part of a whole frame yet; never the inside of a large buffer."""
        self._control: bytes | None = None
        self._buffers: list[bytearray] = []
        self._filling: int = 0
        self._filled = 0
        self.is_dry = False
        """Whether the last `read` found a non-blocking socket empty."""

    def read(self) -> list[Envelope] | None:
        """Wait for bytes (a non-blocking socket: look for them) and return the frames that are whole now.

        None at the end of the stream.
        """
        frames: list[Envelope] = []
        self.is_dry = False
        try:
            if self._control is not None:
                # In the middle of a large buffer: straight into its place.
                got = self._source.recv_into(memoryview(self._buffers[self._filling])[self._filled :])
                if got:
                    self._filled += got
                    self._advance(frames)
            else:
                got = self._source.recv_into(self._scratch)
                self._data += self._scratch[:got]
        except BlockingIOError:
            self.is_dry = True
            return frames
        except ConnectionError:
            return None
        if not got:
            return None
        self._parse(frames)
        return frames

    def _parse(self, frames: list[Envelope]) -> None:
        data, at = self._data, 0
        while self._control is None and len(data) - at >= _HEAD.size:
            control_length, count = _HEAD.unpack_from(data, at)
            start = at + _HEAD.size + count * _LENGTH.size
            end = start + control_length
            if len(data) < end:
                break
            control = bytes(data[start:end])
            at, lengths_at = end, at + _HEAD.size
            if not count:
                frames.append(Envelope(control))
                continue
            self._control = control
            self._buffers = [
                bytearray(_LENGTH.unpack_from(data, lengths_at + number * _LENGTH.size)[0]) for number in range(count)
            ]
            self._filling = self._filled = 0
            at = self._fill(data, at, frames)
        if at:
            del data[:at]

    def _fill(self, data: bytearray, at: int, frames: list[Envelope]) -> int:
        """Move what has been read already into the buffers; return how far that went."""
        while self._control is not None:
            buffer = self._buffers[self._filling]
            piece = min(len(buffer) - self._filled, len(data) - at)
            buffer[self._filled : self._filled + piece] = memoryview(data)[at : at + piece]
            self._filled += piece
            at += piece
            if self._filled < len(buffer):
                break
            self._advance(frames)
        return at

    def _advance(self, frames: list[Envelope]) -> None:
        """Go on to the next buffer when one is full, and finish the frame after the last."""
        while self._filled == len(self._buffers[self._filling]):
            self._filling += 1
            self._filled = 0
            if self._filling == len(self._buffers):
                assert self._control is not None
                frames.append(Envelope(self._control, self._buffers))
                self._control, self._buffers = None, []
                return


class FrameWriter:
    """Writes frames into a non-blocking socket, as far as it takes them."""

    def __init__(self, target: socket.socket) -> None:
        self._target = target
        self._parts: deque[memoryview] = deque()

    @property
    def has_unsent(self) -> bool:
        """Whether there is more to write when the socket takes bytes again."""
        return bool(self._parts)

    def add(self, envelope: Envelope) -> None:
        """Queue a frame; `flush` writes it."""
        self._parts.extend(frame(envelope))

    def flush(self) -> None:
        """Write what the socket takes now. What is written to a worker that has died is dropped."""
        parts = self._parts
        while parts:
            try:
                sent = self._target.sendmsg(list(parts)[:_MOST_PARTS] if len(parts) > _MOST_PARTS else parts)
            except BlockingIOError:
                return
            except OSError:  # the reader is told of the end of the stream, and knows what it means
                parts.clear()
                return
            _drop(parts, sent)


def write_all(target: socket.socket, envelopes: list[Envelope]) -> None:
    """Write frames into a blocking socket; returns when they are in the kernel's hands."""
    parts: deque[memoryview] = deque()
    for envelope in envelopes:
        parts.extend(frame(envelope))
    while parts:
        _drop(parts, target.sendmsg(list(parts)[:_MOST_PARTS] if len(parts) > _MOST_PARTS else parts))


def _drop(parts: deque[memoryview], sent: int) -> None:
    while sent:
        first = parts[0]
        if sent < first.nbytes:
            parts[0] = first[sent:]
            return
        sent -= first.nbytes
        parts.popleft()
