"""Artifacts and their collections for the REST API: listed and counted with filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.artifacts import ArtifactCollection
from flowyard.schemas.api.sorting import ArtifactCollectionSort, ArtifactSort
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.store.artifacts import artifact, artifact_collection, record_of
from flowyard.store.filtering.conditions import Condition

_ORDERS = {
    ArtifactSort.CREATED_DESC: artifact.c.created.desc(),
    ArtifactSort.UPDATED_DESC: artifact.c.updated.desc(),
    ArtifactSort.ID_DESC: artifact.c.id.desc(),
    ArtifactSort.KEY_ASC: artifact.c.key.asc(),
    ArtifactSort.KEY_DESC: artifact.c.key.desc(),
}
_COLLECTION_ORDERS = {
    ArtifactCollectionSort.CREATED_DESC: artifact_collection.c.created.desc(),
    ArtifactCollectionSort.UPDATED_DESC: artifact_collection.c.updated.desc(),
    ArtifactCollectionSort.ID_DESC: artifact_collection.c.id.desc(),
    ArtifactCollectionSort.KEY_ASC: artifact_collection.c.key.asc(),
    ArtifactCollectionSort.KEY_DESC: artifact_collection.c.key.desc(),
}


def read_many(
    connection: Connection, conditions: Sequence[Condition], *, sort: ArtifactSort, limit: int, offset: int
) -> list[ArtifactRecord]:
    """Return artifacts."""
    query = select(artifact).where(*conditions).order_by(_ORDERS[sort], artifact.c.id.desc())
    return [record_of(row) for row in connection.execute(query.limit(limit).offset(offset))]


def count(connection: Connection, conditions: Sequence[Condition]) -> int:
    """Count artifacts."""
    return connection.execute(select(func.count()).select_from(artifact).where(*conditions)).scalar_one()


def read_collections(
    connection: Connection,
    conditions: Sequence[Condition],
    *,
    sort: ArtifactCollectionSort,
    limit: int,
    offset: int,
) -> list[ArtifactCollection]:
    """Return the latest version of each key."""
    query = _collections().where(*conditions).order_by(_COLLECTION_ORDERS[sort], artifact_collection.c.id.desc())
    return [_collection_of(row) for row in connection.execute(query.limit(limit).offset(offset))]


def read_collection(connection: Connection, key: str) -> ArtifactCollection:
    """Return the latest version of a key.

    Raises:
        ObjectNotFound: there is none.
    """
    row = connection.execute(_collections().where(artifact_collection.c.key == key)).first()
    if row is None:
        raise ObjectNotFound("artifact", key)
    return _collection_of(row)


def count_collections(connection: Connection, conditions: Sequence[Condition]) -> int:
    """Count keys by what their latest versions are."""
    joined = artifact_collection.join(artifact, artifact.c.id == artifact_collection.c.latest_id)
    return connection.execute(select(func.count()).select_from(joined).where(*conditions)).scalar_one()


def _collections() -> Select[Any]:
    return select(
        artifact_collection,
        *(artifact.c[name] for name in ("type", "data", "description", "metadata", "flow_run_id", "task_run_id")),
    ).join(artifact, artifact.c.id == artifact_collection.c.latest_id)


def _collection_of(row: Row[Any]) -> ArtifactCollection:
    return ArtifactCollection(
        id=row.id,
        created=row.created,
        updated=row.updated,
        key=row.key,
        latest_id=row.latest_id,
        type=row.type,
        description=row.description,
        data=row.data,
        metadata_=row.metadata,
        flow_run_id=row.flow_run_id,
        task_run_id=row.task_run_id,
    )
