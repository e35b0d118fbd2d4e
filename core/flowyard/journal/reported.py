"""Batches of other processes' journals, written by this one's writer: what a server does with what is sent to it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from flowyard.journal.sql import SqlJournal
from flowyard.schemas.events import JournalEvent
from flowyard.services.lease_keeper import LEASE_SECONDS
from flowyard.store import leases
from flowyard.store.leases import Advance, Owner
from flowyard.store.plain import PlainConnection


class ReportedBatch(NamedTuple):
    """Events of one flow run that are written together or not at all."""

    flow_run_id: UUID | None
    """None for what happened outside of flow runs."""
    token: int
    number: int
    events: list[JournalEvent]


def write_reported(journal: SqlJournal, owner: Owner, batches: Sequence[ReportedBatch]) -> list[Advance]:
    """Write batches in one transaction and return what became of each; a refused one takes no other with it.

    Raises:
        RecordsNotDurable: they could not be committed, and none is written.
        Exception: one of them has something that cannot be stored, and none is written.
    """

    def write(connection: PlainConnection) -> list[Advance]:
        return [_write(connection, batch) for batch in batches]

    def _write(connection: PlainConnection, batch: ReportedBatch) -> Advance:
        verdict = _verdict(connection, owner, batch)
        if verdict is Advance.ACCEPTED:
            journal.apply(connection, batch.events)
        elif batch.flow_run_id is not None:
            # What is in memory may be older than what is on disk, or nobody's any more.
            journal.forget({batch.flow_run_id})
        return verdict

    return journal.perform(write)


def _verdict(connection: PlainConnection, owner: Owner, batch: ReportedBatch) -> Advance:
    if batch.flow_run_id is not None:
        return leases.advance_in_order(connection, batch.flow_run_id, batch.token, batch.number)
    # The lease of a process is gone when the process was believed dead, and comes back with its next batch: who
    # calls tasks outside of flows takes nothing from anybody.
    now = datetime.now(UTC)
    leases.enter_process(connection, owner, now, expires=now + timedelta(seconds=LEASE_SECONDS))
    return leases.advance(connection, owner.id, batch.token, batch.number)
