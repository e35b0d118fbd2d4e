"""Artifacts in the database of this process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection
from typing_extensions import override

from flowyard.exceptions import ObjectNotFound
from flowyard.journal.sql import SqlJournal
from flowyard.local.reading import Reader
from flowyard.ports.artifacts import ArtifactStore
from flowyard.rules.artifacts import check_artifact_key, shortened_metadata
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.filters import ArtifactFilter
from flowyard.store import artifacts
from flowyard.store.database import Database

_CHANGEABLE = ("data", "description", "metadata")


class LocalArtifacts(ArtifactStore):
    """Changes on the journal's writer thread, reads on connections of their own."""

    def __init__(self, database: Database, journal: SqlJournal) -> None:
        self._dialect = database.dialect
        self._journal = journal
        self._read = Reader(database, journal)

    @override
    def create(self, record: ArtifactRecord) -> ArtifactRecord:
        check_artifact_key(record.key)
        record.metadata = shortened_metadata(record.metadata)
        self._journal.execute(
            lambda connection: artifacts.insert_artifact(connection, self._dialect, record),
            flow_run_id=record.flow_run_id,
        )
        return record

    @override
    def read(self, artifact_id: UUID) -> ArtifactRecord:
        return self._read(lambda connection: artifacts.read(connection, artifact_id))

    @override
    def find_latest(self, key: str) -> ArtifactRecord | None:
        return self._read(lambda connection: artifacts.find_latest(connection, key))

    @override
    def read_many(self, where: ArtifactFilter, *, limit: int = 200, offset: int = 0) -> list[ArtifactRecord]:
        return self._read(lambda connection: artifacts.read_many(connection, where, limit=limit, offset=offset))

    @override
    def count(self, where: ArtifactFilter) -> int:
        return self._read(lambda connection: artifacts.count(connection, where))

    @override
    def update(self, artifact_id: UUID, /, **changes: Any) -> None:
        unknown = sorted(set(changes) - set(_CHANGEABLE))
        if unknown:
            raise ValueError(
                f"an artifact has no {unknown[0]!r} that can be changed; there are {', '.join(_CHANGEABLE)}"
            )
        if "metadata" in changes:
            changes["metadata"] = shortened_metadata(changes["metadata"])
        self._journal.execute(lambda connection: artifacts.change(connection, artifact_id, changes, datetime.now(UTC)))

    @override
    def delete(self, artifact_id: UUID) -> None:
        self._journal.execute(lambda connection: artifacts.remove(connection, artifact_id))

    @override
    def delete_key(self, key: str) -> int:
        def delete(connection: Connection) -> int:
            gone = artifacts.remove_key(connection, key)
            if not gone:
                raise ObjectNotFound("artifact", key)
            return gone

        return self._journal.execute(delete)
