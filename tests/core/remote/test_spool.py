"""The files that keep what could not be sent."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowyard.remote.spool import Frame, Spool, spool_files, spool_path, summary_of
from flowyard.schemas.ids import new_id
from flowyard.schemas.reports import Reporter

URL = "http://flows.example/api"


@pytest.fixture
def reporter() -> Reporter:
    return Reporter(new_id(), "a-host", 4711, datetime(2026, 5, 4, tzinfo=UTC))


@pytest.fixture
def spool(tmp_path: Path, reporter: Reporter) -> Spool:
    return Spool(spool_path(tmp_path, reporter), URL, reporter)


def frames(count: int) -> list[Frame]:
    return [Frame("/journal", bytes([number]) * (number + 1)) for number in range(count)]


def taken_from(spool: Spool) -> list[Frame]:
    taken: list[Frame] = []
    while (frame := spool.first()) is not None:
        taken.append(frame)
        spool.drop_first()
    return taken


def test_frames_come_out_in_the_order_they_went_in_and_an_empty_spool_leaves_no_file(spool: Spool) -> None:
    for frame in frames(3):
        spool.append(frame)
    spool.sync()
    assert spool.path.exists()
    assert taken_from(spool) == frames(3)
    spool.append(frames(1)[0])
    assert taken_from(spool) == frames(1)
    spool.close()
    assert not spool.path.exists()


def test_what_a_process_left_is_adopted_with_whose_it_is(spool: Spool, reporter: Reporter, tmp_path: Path) -> None:
    for frame in frames(3):
        spool.append(frame)
    spool.drop_first()
    spool.close()
    assert spool_files(tmp_path) == [spool.path]
    adopted = Spool.adopt(spool.path)
    assert adopted is not None
    assert (adopted.url, adopted.reporter) == (URL, reporter)
    # The first one again, because nothing on disk says that it was sent: the server knows.
    assert taken_from(adopted) == frames(3)
    adopted.close()
    assert spool_files(tmp_path) == []


@pytest.mark.parametrize("cut", [1, 5, 9], ids=["in the content", "in the checksum", "in the length"])
def test_a_frame_that_was_not_written_to_its_end_is_set_aside(spool: Spool, tmp_path: Path, cut: int) -> None:
    for frame in frames(2):
        spool.append(frame)
    spool.close()
    whole = spool.path.read_bytes()
    spool.path.write_bytes(whole[:-cut])
    summary = summary_of(spool.path)
    assert summary is not None
    assert summary.count == 1
    assert summary.unreadable > 0
    adopted = Spool.adopt(spool.path)
    assert adopted is not None
    assert taken_from(adopted) == frames(1)
    adopted.close()
    assert spool_files(tmp_path) == []
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]


def test_nothing_behind_a_damaged_frame_is_sent(spool: Spool) -> None:
    for frame in frames(3):
        spool.append(frame)
    spool.close()
    content = bytearray(spool.path.read_bytes())
    content[content.rindex(frames(2)[1].packed + b"") - 1] ^= 0xFF
    spool.path.write_bytes(content)
    adopted = Spool.adopt(spool.path)
    assert adopted is not None
    assert taken_from(adopted) == frames(1)
    adopted.close()


@pytest.mark.parametrize("content", [b"", b"\x00", bytes(64), b"something else altogether, and long enough"])
def test_a_file_that_is_no_spool_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.spool"
    path.write_bytes(content)
    assert Spool.adopt(path) is None
    assert summary_of(path) is None
    assert path.read_bytes() == content
