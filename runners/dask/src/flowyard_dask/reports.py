"""What a call reports while it runs and when it is done, as bytes: events with sequence numbers, and the outcome.

A report is `[start id, number of its first event, events, outcome or None, where the value is]`. The numbers tell the
flow's process what it has seen already, and that something is missing. A call that simply completed reports once, and
not in bytes of its own: `[start id, plain outcome, where the value is]` is packed with the message it travels in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from flowyard.exceptions import MissingResult
from flowyard.schemas.events import JournalEvent
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.wire import decode_events, encode_events
from flowyard.schemas.wire_values import packb, unpackb
from flowyard.task_runners.base import Outcome
from flowyard.task_runners.envelopes import Envelope
from flowyard.task_runners.packing_outcomes import pack_outcome
from flowyard.task_runners.pickling import Pickled
from flowyard.task_runners.plain_outcomes import pack_plain, unpack_either

Packed = bytes | list[Any]
"""A report on its way: bytes, or the short array of a call that simply completed."""


_PLAIN_BYTES = 150


class Report(NamedTuple):
    """A report, opened."""

    start_id: int
    first: int
    events: list[JournalEvent]
    """Empty in the last report: its events are in the outcome."""
    outcome: Envelope | list[Any] | None
    is_kept: bool
    """The value stayed on its worker."""
    nbytes: int
    dropped: int
    """How many events were left out before this report, because there was no room to keep them."""

    def outcome_of(self, task_run: TaskRun, where: str) -> Outcome:
        """Return how the call of `task_run` ended, `where` it was executed; only of a last report."""
        assert self.outcome is not None
        return unpack_either(self.outcome, task_run, where)


class Elsewhere:
    """Takes the place of a value in an outcome: the value stays on its worker."""

    def get(self) -> Any:
        """There is no value here."""
        raise MissingResult("the value is still on its worker")

    def to_record(self) -> dict[str, Any]:
        """Return what the state backend stores."""
        return {"type": "unpersisted"}


def pack_progress(start_id: int, first: int, events: Sequence[JournalEvent]) -> bytes:
    """Return the report of a call that goes on."""
    return packb([start_id, first, encode_events(events), None, False, 0, 0])


def pack_end(
    start_id: int, first: int, outcome: Outcome, *, where: str, is_kept: bool, nbytes: int, value: Pickled | None
) -> Packed:
    """Return the last report of a call; its events are those of the outcome.

    When the value has to travel and cannot be pickled, the outcome is changed to Failed first (see `pack_outcome`).
    `value` is its pickle, where there is one already.
    """
    if not first:
        plain = pack_plain(outcome, stays=is_kept, value=value)
        if plain is not None:
            return [start_id, plain, is_kept, nbytes]
    if not is_kept:
        packed = pack_outcome(outcome, where).to_bytes()
    else:
        state = outcome.state
        value, state.data = state.data, Elsewhere()
        try:
            packed = pack_outcome(outcome, where).to_bytes()
        finally:
            state.data = value
    return packb([start_id, first, [], packed, is_kept, nbytes, 0])


def size_of(report: Packed) -> int:
    """Return about how many bytes a report is."""
    return len(report) if isinstance(report, bytes) else _PLAIN_BYTES


def without_events(report: bytes) -> tuple[bytes, int]:
    """Return a report of progress with its events left out, and how many these were."""
    wire = cast("list[Any]", unpackb(report))
    return packb([wire[0], wire[1], [], None, False, 0, len(wire[2]) + wire[6]]), len(wire[2])


Batch = list[tuple[str, list[tuple[int | None, Packed]]]]
"""Reports of several calls: Dask key, then place in the chunk and report of each of its calls."""


def add_report(batch: Batch, key: str, index: int | None, report: Packed) -> None:
    """Put a report into a batch; those of a chunk mostly follow each other."""
    if not batch or batch[-1][0] != key:
        batch.append((key, []))
    batch[-1][1].append((index, report))


def pack_message(
    began: list[str], ended: list[str], reports: Batch, *, versions: tuple[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """Return what a worker tells at once. The scheduler reads who began and ended; the reports are bytes to it.

    `versions` has the worker, and what it runs (see `flowyard.task_runners.versions`): in its first message.
    """
    message: dict[str, Any] = {"began": began, "ended": ended, "reports": packb(reports) if reports else b""}
    if versions is not None:
        message["versions"] = versions
    return message


def unpack_message(message: dict[str, Any]) -> Batch:
    """Return the reports in a message."""
    reports = message.get("reports")
    return cast("Batch", unpackb(reports)) if reports else []


def unpack_report(data: Packed) -> Report:
    """Return what one of the functions above packed."""
    if isinstance(data, list):
        return Report(data[0], 0, [], data[1], data[2], data[3], 0)
    start_id, first, events, outcome, is_kept, nbytes, dropped = cast("list[Any]", unpackb(data))
    opened = None if outcome is None else Envelope.from_bytes(outcome)
    return Report(start_id, first, decode_events(events), opened, is_kept, nbytes, dropped)
