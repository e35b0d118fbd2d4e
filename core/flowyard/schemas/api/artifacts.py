"""Artifacts, as the REST API has them."""

from __future__ import annotations

from typing import Any, Self
from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model, Operator
from flowyard.schemas.api.criteria import AnyId, AnyTextButNot, AnyTextOrLike
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.ids import new_id


class Artifact(Model):
    """One version of what a run wants people to see."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    key: str | None = None
    type: str | None = None
    description: str | None = None
    data: Any = None
    metadata_: dict[str, str] | None = None
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None

    @classmethod
    def of(cls, record: ArtifactRecord) -> Self:
        """Return a stored artifact as the API shows it."""
        return cls(
            id=record.id,
            created=record.created,
            updated=record.updated,
            key=record.key,
            type=record.type,
            description=record.description,
            data=record.data,
            metadata_=record.metadata,
            flow_run_id=record.flow_run_id,
            task_run_id=record.task_run_id,
        )


class ArtifactCollection(Model):
    """A key, and what its latest version is."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    key: str
    latest_id: UUID
    type: str | None = None
    description: str | None = None
    data: Any = None
    metadata_: dict[str, str] | None = None
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None


class ArtifactCollectionFilterFlowRunId(AnyId):
    """Artifact collections of flow runs."""


class ArtifactCollectionFilterKey(AnyTextOrLike):
    """Artifact collections by their key."""

    exists_: bool | None = None


class ArtifactCollectionFilterLatestId(AnyId):
    """Artifact collections by their latest id."""


class ArtifactCollectionFilterTaskRunId(AnyId):
    """Artifact collections of task runs."""


class ArtifactCollectionFilterType(AnyTextButNot):
    """Artifact collections by their type."""


class ArtifactCollectionFilter(Body):
    """Which artifact collections to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    latest_id: ArtifactCollectionFilterLatestId | None = None
    key: ArtifactCollectionFilterKey | None = None
    flow_run_id: ArtifactCollectionFilterFlowRunId | None = None
    task_run_id: ArtifactCollectionFilterTaskRunId | None = None
    type: ArtifactCollectionFilterType | None = None


class ArtifactCreate(Body):
    """What creates an artifact."""

    key: str | None = None
    type: str | None = None
    description: str | None = None
    data: Any = None
    metadata_: dict[str, str] | None = None
    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None


class ArtifactFilterFlowRunId(AnyId):
    """Artifacts of flow runs."""


class ArtifactFilterId(AnyId):
    """Artifacts by their id."""


class ArtifactFilterKey(AnyTextOrLike):
    """Artifacts by their key."""

    exists_: bool | None = None


class ArtifactFilterTaskRunId(AnyId):
    """Artifacts of task runs."""


class ArtifactFilterType(AnyTextButNot):
    """Artifacts by their type."""


class ArtifactFilter(Body):
    """Which artifacts to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    id: ArtifactFilterId | None = None
    key: ArtifactFilterKey | None = None
    flow_run_id: ArtifactFilterFlowRunId | None = None
    task_run_id: ArtifactFilterTaskRunId | None = None
    type: ArtifactFilterType | None = None


class ArtifactUpdate(Body):
    """What can be changed of an artifact; a field that is left out stays."""

    data: Any = None
    description: str | None = None
    metadata_: dict[str, str] | None = None
