"""Frames over sockets, however the bytes are cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.task_runners.envelopes import Envelope
from flowyard.task_runners.process.channel import FrameReader, FrameWriter, frame, write_all

parts = st.binary(max_size=200)
envelopes = st.builds(Envelope, parts, st.lists(parts, max_size=4))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def content(envelope: Envelope) -> tuple[bytes, list[bytes]]:
    return bytes(envelope.control), [bytes(buffer) for buffer in envelope.buffers]


def read_all(reader: FrameReader) -> list[Envelope]:
    got: list[Envelope] = []
    while (frames := reader.read()) is not None:
        got += frames
    return got


@given(st.lists(envelopes, max_size=6), st.data())
def test_frames_come_out_whole_wherever_the_stream_is_cut(sent: list[Envelope], data: st.DataObject):
    stream = b"".join(bytes(part) for envelope in sent for part in frame(envelope))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    ours, theirs = socket.socketpair()
    got: list[Envelope] = []
    with ours, theirs:
        ours.setblocking(False)
        reader = FrameReader(ours)
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            theirs.sendall(stream[start:end])
            while not reader.is_dry or start == end:
                got += reader.read() or []
                if reader.is_dry:
                    break
            reader.is_dry = False
    assert [content(envelope) for envelope in got] == [content(envelope) for envelope in sent]


def test_a_large_buffer_goes_through_a_socket_that_takes_little(pair: tuple[socket.socket, socket.socket]):
    ours, theirs = pair
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    ours.setblocking(False)
    big = bytes(range(256)) * 8000
    writer = FrameWriter(ours)
    for number in range(3):
        writer.add(Envelope(bytes([number]), [big, b"", big]))
    writer.flush()
    assert writer.has_unsent, "the socket cannot hold six megabytes"
    got: list[Envelope] = []
    thread = threading.Thread(target=lambda: got.extend(read_all(FrameReader(theirs))))
    thread.start()
    while writer.has_unsent:
        writer.flush()
    ours.shutdown(socket.SHUT_WR)
    thread.join(90)
    assert [content(envelope) for envelope in got] == [(bytes([number]), [big, b"", big]) for number in range(3)]


def test_received_buffers_can_be_written_to(pair: tuple[socket.socket, socket.socket]):
    ours, theirs = pair
    write_all(ours, [Envelope(b"c", [b"read-only here"])])
    frames = FrameReader(theirs).read()
    assert frames is not None
    memoryview(frames[0].buffers[0])[0] = 0


def test_many_frames_go_in_one_call(pair: tuple[socket.socket, socket.socket]):
    ours, theirs = pair
    thread = threading.Thread(target=write_all, args=(ours, [Envelope(str(n).encode()) for n in range(3000)]))
    thread.start()
    reader = FrameReader(theirs)
    got: list[Envelope] = []
    while len(got) < 3000:
        got += reader.read() or []
    thread.join(90)
    assert [int(envelope.control) for envelope in got] == list(range(3000))


def test_the_end_of_the_stream_is_told(pair: tuple[socket.socket, socket.socket]):
    ours, theirs = pair
    write_all(ours, [Envelope(b"last words")])
    ours.close()
    reader = FrameReader(theirs)
    assert [content(envelope) for envelope in reader.read() or []] == [(b"last words", [])]
    assert reader.read() is None


def test_writing_to_the_dead_is_no_error(pair: tuple[socket.socket, socket.socket]):
    ours, theirs = pair
    theirs.close()
    writer = FrameWriter(ours)
    writer.add(Envelope(b"hello?"))
    writer.flush()
    assert not writer.has_unsent
