"""What a server refused of what was kept while it was away: put aside, so that somebody can look at it.

A run whose owner was silent for too long is Crashed, and may be another process's by now: what its owner still has to
say would turn states back. It stays on disk until somebody exports or discards it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowyard.remote.connection import decompressed
from flowyard.remote.spool import Frame, Spool, SpoolSummary, frames_of, summary_of
from flowyard.schemas.ids import new_id
from flowyard.schemas.reports import Batch, Reporter
from flowyard.schemas.wire_values import unpackb
from flowyard.upcalls.values import unpack_value

_SUFFIX = ".refused"
_REASON = "#"


def put_aside(spool: Spool, frame: Frame, reason: str) -> Path:
    """Keep a frame of a spool that the server refused, durably, and return the file that it is in.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    path = spool.path.with_suffix(_SUFFIX)
    aside = Spool.adopt(path) if path.exists() else Spool(path, spool.url, spool.reporter)
    if aside is None:  # somebody else has it, or it is damaged
        path = path.with_stem(f"{new_id()}")
        aside = Spool(path, spool.url, spool.reporter)
    try:
        aside.append(Frame(f"{frame.path}{_REASON}{reason}", frame.packed))
        aside.sync()
    finally:
        aside.release()
    return path


def refused_files(folder: Path) -> list[Path]:
    """Return all files with refused records in a folder, oldest first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


@dataclass(frozen=True, slots=True)
class RefusedSummary:
    """What a file with refused records holds, for people."""

    spool: SpoolSummary
    reason: str
    """Why the first of them was refused."""


def refused_summary(path: Path) -> RefusedSummary | None:
    """Look into a file; None when it says nothing."""
    summary = summary_of(path)
    if summary is None or not (summary.count or summary.unreadable):
        return None
    first = next(iter(frames_of(path)), None)
    return RefusedSummary(summary, "" if first is None else first.path.partition(_REASON)[2])


def exported(path: Path) -> Iterator[str]:
    """Return the refused records of a file as lines of JSON."""
    for frame in frames_of(path):
        address, _, reason = frame.path.partition(_REASON)
        reporter: Reporter
        content: list[Any]
        _, reporter, content = unpack_value(decompressed(frame.packed))
        said = {"reason": reason, "path": address, "host": reporter.host, "pid": reporter.pid}
        batches = [each for each in content if isinstance(each, Batch)]
        if not batches:
            yield json.dumps({**said, "arguments": content}, default=_shown)
        for batch in batches:
            events: Any = unpackb(batch.events)
            record = {"flow_run_id": batch.flow_run_id, "token": batch.token, "number": batch.number, "events": events}
            yield json.dumps({**said, **record}, default=_shown)


def _shown(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else str(value)
