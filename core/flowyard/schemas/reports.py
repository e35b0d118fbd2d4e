"""What a process that runs flows sends to a server: who it is, and batches of its journal."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

VERSION = 1
"""Of the envelopes of `POST /api/journal` and `POST /api/control/...`; the records in them have their own."""
RUNS = "runs"
"""Stands in an address for the methods of the control plane itself, which have no noun."""


class Reporter(NamedTuple):
    """A process, as the server and people can recognise it."""

    id: UUID
    host: str
    pid: int
    process_start_time: datetime


class Batch(NamedTuple):
    """Events of one flow run that are written together or not at all."""

    flow_run_id: UUID | None
    """None for tasks that were called outside of a flow."""
    token: int
    """That of the lease under which they were recorded."""
    number: int
    """Counts the batches of a lease from 1, without gaps: what was written is not written again."""
    events: bytes
    """`wire.encode_events`, packed."""
