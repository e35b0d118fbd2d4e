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
from flowyard.store.ordering import Order, Page

_ORDERS = {
    ArtifactSort.CREATED_DESC: Order(artifact.c.created, is_descending=True),
    ArtifactSort.UPDATED_DESC: Order(artifact.c.updated, is_descending=True),
    ArtifactSort.ID_DESC: Order(artifact.c.id, is_descending=True),
    ArtifactSort.KEY_ASC: Order(artifact.c.key, is_nullable=True),
    ArtifactSort.KEY_DESC: Order(artifact.c.key, is_descending=True, is_nullable=True),
}
_COLLECTION_ORDERS = {
    ArtifactCollectionSort.CREATED_DESC: Order(artifact_collection.c.created, is_descending=True),
    ArtifactCollectionSort.UPDATED_DESC: Order(artifact_collection.c.updated, is_descending=True),
    ArtifactCollectionSort.ID_DESC: Order(artifact_collection.c.id, is_descending=True),
    ArtifactCollectionSort.KEY_ASC: Order(artifact_collection.c.key),
    ArtifactCollectionSort.KEY_DESC: Order(artifact_collection.c.key, is_descending=True),
}


def read_many(
    connection: Connection, conditions: Sequence[Condition], page: Page, *, sort: ArtifactSort
) -> list[ArtifactRecord]:
    """Return artifacts.

    Raises:
        ObjectNotFound: there is no artifact with which the page before ended.
    """
    query = page.of(connection, select(artifact).where(*conditions), _ORDERS[sort], artifact.c.id, "artifact")
    return [record_of(row) for row in connection.execute(query)]


def count(connection: Connection, conditions: Sequence[Condition]) -> int:
    """Count artifacts."""
    return connection.execute(select(func.count()).select_from(artifact).where(*conditions)).scalar_one()


def read_collections(
    connection: Connection, conditions: Sequence[Condition], page: Page, *, sort: ArtifactCollectionSort
) -> list[ArtifactCollection]:
    """Return the latest version of each key.

    Raises:
        ObjectNotFound: there is no collection with which the page before ended.
    """
    order, key = _COLLECTION_ORDERS[sort], artifact_collection.c.id
    query = page.of(connection, _collections().where(*conditions), order, key, "artifact collection")
    return [_collection_of(row) for row in connection.execute(query)]


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
