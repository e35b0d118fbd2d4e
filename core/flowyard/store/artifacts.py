"""Rows of artifacts, and which version of each key is the latest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Index, Table, UniqueConstraint, delete, func, select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.sql import ColumnElement

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.filters import ArtifactFilter
from flowyard.schemas.ids import new_id
from flowyard.store.dialects import Dialect
from flowyard.store.tables import ID, JSON, TEXT, TIME, metadata

# With a rowid on SQLite, unlike most: the data can be large, and rows that are would make the tree of keys deep.
artifact = Table(
    "artifact",
    metadata,
    Column("id", ID, primary_key=True),
    Column("key", TEXT),
    Column("type", TEXT),
    Column("data", JSON),
    Column("description", TEXT),
    Column("metadata", JSON),
    Column("flow_run_id", ID),
    Column("task_run_id", ID),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    # The versions of a key, the artifacts of a flow run and those of a task run, newest first.
    Index("ix_artifact__key", "key", "id"),
    Index("ix_artifact__flow_run_id", "flow_run_id", "id"),
    Index("ix_artifact__task_run_id", "task_run_id", "id"),
)

artifact_collection = Table(
    "artifact_collection",
    metadata,
    Column("id", ID, primary_key=True),
    Column("key", TEXT, nullable=False),
    # The version with the greatest id.
    Column("latest_id", ID, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("key", name="uq_artifact_collection__key"),
    # The newest keys first, and whether a version is the latest.
    Index("ix_artifact_collection__latest_id", "latest_id"),
    sqlite_with_rowid=False,
)


def insert_artifact(connection: Connection, dialect: Dialect, record: ArtifactRecord) -> None:
    """Store an artifact, and make it the latest of its key unless a newer one is there. One that is there stays."""
    values = {name: getattr(record, name) for name in ArtifactRecord.__slots__}
    statement = dialect.insert(artifact).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    if connection.execute(statement, values).rowcount == 0 or record.key is None:
        return
    collection = dialect.insert(artifact_collection).values(
        id=new_id(), key=record.key, latest_id=record.id, created=record.created, updated=record.created
    )
    connection.execute(
        collection.on_conflict_do_update(
            index_elements=[artifact_collection.c.key],
            set_={"latest_id": collection.excluded.latest_id, "updated": collection.excluded.updated},
            where=artifact_collection.c.latest_id < collection.excluded.latest_id,
        )
    )


def change(connection: Connection, artifact_id: UUID, values: dict[str, Any], now: datetime) -> None:
    """Change columns of an artifact.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    statement = update(artifact).where(artifact.c.id == artifact_id).values(**values, updated=now)
    if connection.execute(statement).rowcount == 0:
        raise ObjectNotFound("artifact", artifact_id)


def read(connection: Connection, artifact_id: UUID) -> ArtifactRecord:
    """Return an artifact.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select(artifact).where(artifact.c.id == artifact_id)).first()
    if row is None:
        raise ObjectNotFound("artifact", artifact_id)
    return record_of(row)


def find_latest(connection: Connection, key: str) -> ArtifactRecord | None:
    """Return the latest version of a key, or None."""
    query = select(artifact).join(artifact_collection, artifact_collection.c.latest_id == artifact.c.id)
    row = connection.execute(query.where(artifact_collection.c.key == key)).first()
    return None if row is None else record_of(row)


def read_many(connection: Connection, where: ArtifactFilter, *, limit: int, offset: int) -> list[ArtifactRecord]:
    """Return artifacts, newest first."""
    query = select(artifact).where(*_conditions(where)).order_by(artifact.c.id.desc()).limit(limit).offset(offset)
    return [record_of(row) for row in connection.execute(query)]


def count(connection: Connection, where: ArtifactFilter) -> int:
    """Return how many artifacts match."""
    return connection.execute(select(func.count()).select_from(artifact).where(*_conditions(where))).scalar_one()


def remove(connection: Connection, artifact_id: UUID) -> None:
    """Delete an artifact; the version before it becomes the latest of its key.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if not _remove(connection, [artifact.c.id == artifact_id]):
        raise ObjectNotFound("artifact", artifact_id)


def remove_key(connection: Connection, key: str) -> int:
    """Delete every version of a key and return how many there were."""
    return _remove(connection, [artifact.c.key == key])


def remove_of_flow_run(connection: Connection, flow_run_id: UUID) -> int:
    """Delete the artifacts of a flow run and its tasks, and return how many there were."""
    return _remove(connection, [artifact.c.flow_run_id == flow_run_id])


def remove_of_task_runs(connection: Connection, task_run_ids: Sequence[UUID]) -> int:
    """Delete the artifacts of task runs, and return how many there were."""
    return _remove(connection, [artifact.c.task_run_id.in_(task_run_ids)])


def _remove(connection: Connection, conditions: list[ColumnElement[bool]]) -> int:
    keys = connection.execute(select(artifact.c.key).where(*conditions, artifact.c.key.is_not(None)).distinct())
    names = sorted(keys.scalars())
    # Whoever stores another version of one of these keys now, on PostgreSQL, waits until the latest is settled here.
    for key in names:
        locked = select(artifact_collection.c.id).where(artifact_collection.c.key == key).with_for_update()
        connection.execute(locked).all()
    gone = connection.execute(delete(artifact).where(*conditions)).rowcount
    for key in names:
        # Not `max`, which older PostgreSQL does not know for ids.
        versions = select(artifact.c.id).where(artifact.c.key == key).order_by(artifact.c.id.desc())
        latest = connection.execute(versions.limit(1)).scalar()
        of_key = artifact_collection.c.key == key
        if latest is None:
            connection.execute(delete(artifact_collection).where(of_key))
        else:
            connection.execute(update(artifact_collection).where(of_key).values(latest_id=latest))
    return gone


def _conditions(where: ArtifactFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if where.ids is not None:
        found.append(artifact.c.id.in_(where.ids))
    if where.keys is not None:
        found.append(artifact.c.key.in_(where.keys))
    if where.types is not None:
        found.append(artifact.c.type.in_(where.types))
    if where.flow_run_ids is not None:
        found.append(artifact.c.flow_run_id.in_(where.flow_run_ids))
    if where.task_run_ids is not None:
        found.append(artifact.c.task_run_id.in_(where.task_run_ids))
    if where.is_latest:
        # An artifact without a key is its own latest version.
        latest = select(artifact_collection.c.latest_id)
        found.append(artifact.c.key.is_(None) | artifact.c.id.in_(latest))
    return found


def record_of(row: Row[Any]) -> ArtifactRecord:
    """Return the record of a row."""
    return ArtifactRecord(
        key=row.key,
        type=row.type,
        data=row.data,
        description=row.description,
        metadata=row.metadata,
        flow_run_id=row.flow_run_id,
        task_run_id=row.task_run_id,
        id=row.id,
        created=row.created,
        updated=row.updated,
    )
