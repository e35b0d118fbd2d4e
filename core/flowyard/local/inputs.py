"""Inputs of flow runs in the database of this process."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from uuid import UUID

from typing_extensions import override

from flowyard.exceptions import ObjectNotFound
from flowyard.journal.sql import SqlJournal
from flowyard.local.reading import Reader
from flowyard.ports.inputs import InputStore
from flowyard.schemas.api.flow_runs import FlowRunInput
from flowyard.schemas.inputs import InputRecord
from flowyard.store import flow_run_inputs
from flowyard.store.database import Database


class LocalInputs(InputStore):
    """Changes on the journal's writer thread, reads on connections of their own."""

    def __init__(self, database: Database, journal: SqlJournal) -> None:
        self._journal = journal
        self._read = Reader(database, journal)

    @override
    def create(self, flow_run_id: UUID, key: str, value: str, *, sender: str | None = None) -> None:
        now = datetime.now(UTC)
        self._journal.execute(
            lambda connection: flow_run_inputs.create(connection, flow_run_id, key, value, sender=sender, now=now)
        )

    @override
    def find(self, flow_run_id: UUID, key: str) -> InputRecord | None:
        try:
            return _record_of(self._read(lambda connection: flow_run_inputs.read(connection, flow_run_id, key)))
        except ObjectNotFound:
            return None

    @override
    def read_many(
        self, flow_run_id: UUID, *, prefix: str, limit: int = 1, exclude: Collection[str] = ()
    ) -> list[InputRecord]:
        found = self._read(
            lambda connection: flow_run_inputs.read_many(
                connection, flow_run_id, prefix=prefix, exclude=list(exclude), limit=limit
            )
        )
        return [_record_of(one) for one in found]

    @override
    def delete(self, flow_run_id: UUID, key: str) -> None:
        self._journal.execute(lambda connection: flow_run_inputs.remove(connection, flow_run_id, key))


def _record_of(found: FlowRunInput) -> InputRecord:
    record = InputRecord(found.flow_run_id, found.key, found.value, found.sender, found.id)
    if found.created is not None:
        record.created = found.created
    return record
