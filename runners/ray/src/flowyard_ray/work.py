"""One piece of work as it goes to Ray and comes back: a few calls of one task, and their outcomes."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

from flowyard.schemas.wire import VERSION
from flowyard.schemas.wire_values import packb
from flowyard.task_runners.envelopes import Envelope, read_control
from flowyard.task_runners.pickling import Buffer
from flowyard.task_runners.plain_calls import ArrivedPlainCall, ArrivedPlainCalls
from flowyard.task_runners.versions import Versions, versions_here
from flowyard_ray.values import Kept

Packed = bytes | tuple[Any, ...]
"""What Ray is given: bytes, which it does not pickle, or a tuple with buffers, which it does not copy."""


class WorkItem(NamedTuple):
    """A call in a piece of work."""

    token: int
    """Tells the letters of this call apart."""
    call: Envelope | ArrivedPlainCall
    inputs: Sequence[Sequence[int]]
    """For each upstream that Ray delivers: its key in the call, which argument it comes in, where in there."""
    nbytes: int
    """How many bytes of the piece of work are of this call."""


class Work(NamedTuple):
    """A piece of work as a worker sees it."""

    run_facts: bytes
    """What is the same for all calls of a flow run."""
    context: bytes
    items: Sequence[WorkItem]
    gives_back: bool
    """Calls that have not begun are given back when one takes long: nobody asked for them to be together."""


def pack_work(
    run_facts: bytes,
    context: bytes,
    items: Sequence[tuple[int, Envelope, Sequence[Sequence[int]]]],
    *,
    gives_back: bool = False,
) -> Packed:
    """Return a piece of work as an argument for Ray; `items` has what a `WorkItem` begins with."""
    wire: list[list[Any]] = []
    buffers: list[Buffer] = []
    for token, call, inputs in items:
        wire.append([token, call.control, len(call.buffers), inputs])
        buffers += call.buffers
    control = packb([VERSION, run_facts, context, wire, gives_back])
    return (control, *map(pickle.PickleBuffer, buffers)) if buffers else control


def pack_plain_work(
    run_facts: bytes, context: bytes, calls: bytes, tokens: Sequence[int], *, gives_back: bool = False
) -> Packed:
    """Return a piece of work whose calls are packed in one piece (see `flowyard.task_runners.plain_calls`)."""
    return packb([VERSION, run_facts, context, tokens, gives_back, calls])


def unpack_work(work: Packed) -> Work:
    """Return what `pack_work` or `pack_plain_work` packed."""
    control, buffers = (work, ()) if isinstance(work, bytes) else (work[0], work[1:])
    _, run_facts, context, wire, gives_back, *plain = read_control(control)
    items: list[WorkItem] = []
    if plain:
        size = len(plain[0]) // len(wire)
        for token, arrived in zip(wire, ArrivedPlainCalls(plain[0]), strict=True):
            items.append(WorkItem(token, arrived, (), size))
        return Work(run_facts, context, items, gives_back)
    at = 0
    for token, call, count, inputs in wire:
        envelope = Envelope(call, buffers[at : at + count])
        items.append(WorkItem(token, envelope, inputs, envelope.nbytes))
        at += count
    return Work(run_facts, context, items, gives_back)


class Report(NamedTuple):
    """How a call ended."""

    first: int
    """The number of the first event in the outcome; those before are known to have come through the mailbox."""
    outcome: Envelope | list[Any]
    """As `pack_outcome` packs it, or `pack_plain`."""
    kept: Kept | None = None
    """What the call left, if that is small: whoever asks for the value finds it in the flow's process."""


class Reported(NamedTuple):
    """The reports of a piece of work, and who wrote them."""

    where: str
    versions: Versions
    reports: Sequence[Report]


def pack_reports(where: str, reports: Sequence[Report]) -> bytes:
    """Return the reports of a piece of work in one piece."""
    wire: list[list[Any]] = []
    buffers: list[Buffer] = []
    for first, outcome, left in reports:
        kept = None if left is None else left.to_wire()
        if isinstance(outcome, Envelope):
            wire.append([first, outcome.control, len(outcome.buffers), kept])
            buffers += outcome.buffers
        else:
            wire.append([first, outcome, None, kept])
    return Envelope(packb([VERSION, where, wire, _versions_here()]), buffers).to_bytes()


_versions_here = functools.cache(versions_here)


def unpack_reports(data: Buffer) -> Reported:
    """Return what `pack_reports` packed."""
    envelope = Envelope.from_bytes(data)
    _, where, wire, versions = read_control(envelope.control)
    reports: list[Report] = []
    at = 0
    for first, packed, count, kept in wire:
        outcome: Envelope | list[Any] = packed
        if count is not None:
            outcome = Envelope(packed, envelope.buffers[at : at + count])
            at += count
        reports.append(Report(first, outcome, None if kept is None else Kept.from_wire(kept)))
    return Reported(where, Versions(*versions), reports)
