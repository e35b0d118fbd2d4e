"""What a pool and its workers say to each other. Each message is a list whose first item is one of these."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from flowyard.schemas.wire_values import packb
from flowyard.task_runners.envelopes import Envelope


class ToWorker(IntEnum):
    """Messages of the pool."""

    SPEC = 1
    """hash, bytes: what all calls of a task share."""
    CONTEXT = 2
    """hash, bytes: what all calls of a flow run share."""
    FORGET = 3
    """hashes: specs and contexts that no later call refers to."""
    CALL = 4
    """number, control part; the buffers of the call."""
    GIVE_BACK = 5
    """how many: return the last of the calls that have not begun, for an idle worker."""
    WITHDRAW = 6
    """number: return this call if it has not begun."""
    STOP = 7
    """Exit when what was sent before is done."""
    ANSWERS = 8
    """key -> packed answer: to what a running call has asked."""


class ToPool(IntEnum):
    """Messages of a worker."""

    READY = 1
    """The worker can execute calls."""
    BEGAN = 2
    """number: from now on the call is never executed again by itself."""
    EVENTS = 3
    """number, events: what a running call has recorded."""
    OUTCOME = 4
    """number, seconds it took, control part; the buffers of the outcome."""
    RETURNED = 5
    """numbers: calls that have not begun and never will here."""
    UNUSABLE = 6
    """text: why the worker cannot execute anything."""
    UPCALL = 7
    """key, packed question: what a running call asks of the flow's process."""


def message(kind: ToWorker | ToPool, *fields: Any) -> Envelope:
    """Return a message without buffers."""
    return Envelope(packb([int(kind), *fields]))
