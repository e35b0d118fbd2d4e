"""Artifacts: what runs want people to see, and the latest version of each key."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Response, status

from flowyard.schemas.api.artifacts import (
    Artifact,
    ArtifactCollection,
    ArtifactCollectionFilter,
    ArtifactCreate,
    ArtifactFilter,
    ArtifactUpdate,
)
from flowyard.schemas.api.sorting import ArtifactCollectionSort, ArtifactSort
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf, changes_of
from flowyard.server.errors import refused_as_invalid
from flowyard.server.filters import ArtifactsFiltered
from flowyard.server.routes import Routes
from flowyard.store import artifact_lists
from flowyard.store.filtering.artifacts import of_artifacts, of_collections

router = Routes(prefix="/artifacts", tags=["Artifacts"])
_Artifacts = Annotated[ArtifactFilter | None, Body()]
_Collections = Annotated[ArtifactCollectionFilter | None, Body()]


@router.post("/", operation_id="create_artifact", response_model=Artifact)
def create(body: ArtifactCreate, database: Database) -> Response:
    """Store an artifact; it is the latest version of its key now."""
    fields = body.model_dump()
    record = ArtifactRecord(metadata=fields.pop("metadata_"), **fields)
    with refused_as_invalid():
        made = database.control.artifacts.create(record)
    return answers.one(Artifact.of(made), status.HTTP_201_CREATED)


@router.post("/filter", operation_id="read_artifacts", response_model=list[Artifact])
def read_many(
    filters: ArtifactsFiltered,
    database: Database,
    page: PageOf,
    artifacts: _Artifacts = None,
    sort: Annotated[ArtifactSort, Body()] = ArtifactSort.ID_DESC,
) -> Response:
    """Return artifacts."""
    conditions = list(of_artifacts(database.dialect, artifacts, filters))
    found = database.read(lambda connection: artifact_lists.read_many(connection, conditions, page, sort=sort))
    return answers.many(Artifact, [Artifact.of(record) for record in found])


@router.post("/latest/filter", operation_id="read_latest_artifacts", response_model=list[ArtifactCollection])
def read_latest(
    filters: ArtifactsFiltered,
    database: Database,
    page: PageOf,
    artifacts: _Collections = None,
    sort: Annotated[ArtifactCollectionSort, Body()] = ArtifactCollectionSort.ID_DESC,
) -> Response:
    """Return the latest version of each key."""
    conditions = list(of_collections(database.dialect, artifacts, filters))
    found = database.read(lambda connection: artifact_lists.read_collections(connection, conditions, page, sort=sort))
    return answers.many(ArtifactCollection, found)


@router.post("/count", operation_id="count_artifacts")
def count(filters: ArtifactsFiltered, database: Database, artifacts: _Artifacts = None) -> int:
    """Count artifacts."""
    conditions = list(of_artifacts(database.dialect, artifacts, filters))
    return database.read(lambda connection: artifact_lists.count(connection, conditions))


@router.post("/latest/count", operation_id="count_latest_artifacts")
def count_latest(filters: ArtifactsFiltered, database: Database, artifacts: _Collections = None) -> int:
    """Count keys by what their latest versions are."""
    conditions = list(of_collections(database.dialect, artifacts, filters))
    return database.read(lambda connection: artifact_lists.count_collections(connection, conditions))


@router.get("/{key}/latest", operation_id="read_latest_artifact", response_model=Artifact)
def read_latest_of_key(key: str, database: Database) -> Response:
    """Return the latest version of a key; its `id` is that of the collection."""
    found = database.read(lambda connection: artifact_lists.read_collection(connection, key))
    return answers.one(Artifact(**found.model_dump(exclude={"latest_id"})))


@router.get("/{id}", operation_id="read_artifact", response_model=Artifact)
def read(id: UUID, database: Database) -> Response:
    """Return an artifact."""
    return answers.one(Artifact.of(database.control.artifacts.read(id)))


@router.patch("/{id}", operation_id="update_artifact", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: ArtifactUpdate, database: Database) -> None:
    """Change an artifact."""
    changes = {"metadata" if name == "metadata_" else name: value for name, value in changes_of(body).items()}
    database.control.artifacts.update(id, **changes)


@router.delete("/{id}", operation_id="delete_artifact", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete an artifact; the version before it becomes the latest of its key."""
    database.control.artifacts.delete(id)
