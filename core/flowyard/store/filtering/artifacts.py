"""The filters of artifacts and of artifact collections, and of what they belong to."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.sql import ColumnElement

from flowyard.schemas.api.artifacts import ArtifactCollectionFilter, ArtifactFilter
from flowyard.store.artifacts import artifact, artifact_collection
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.conditions import Condition, combined, is_any, is_like, is_not_any, one_of
from flowyard.store.filtering.related import Filters, of_flow_runs, of_task_runs
from flowyard.store.tables import flow_run, task_run


def of_artifacts(dialect: Dialect, where: ArtifactFilter | None, filters: Filters) -> Iterable[Condition]:
    """Return the conditions on the rows of `artifact`."""
    if where is not None:
        parts = [
            *([] if where.id is None else [combined(is_any(artifact.c.id, where.id.any_))]),
            *_shared(where, artifact.c.key),
        ]
        yield combined(parts, where.operator)
    yield from _of_runs(dialect, filters)


def of_collections(dialect: Dialect, where: ArtifactCollectionFilter | None, filters: Filters) -> Iterable[Condition]:
    """Return the conditions on the rows of `artifact_collection` joined with `artifact`."""
    if where is not None:
        latest = where.latest_id
        parts = [
            *([] if latest is None else [combined(is_any(artifact_collection.c.latest_id, latest.any_))]),
            *_shared(where, artifact_collection.c.key),
        ]
        yield combined(parts, where.operator)
    yield from _of_runs(dialect, filters)


def _shared(where: ArtifactFilter | ArtifactCollectionFilter, key: ColumnElement[str]) -> Iterable[Condition]:
    if where.key is not None:
        exists = [] if where.key.exists_ is None else [key.is_not(None) if where.key.exists_ else key.is_(None)]
        anything = [] if where.key.any_ is None else [one_of(key, where.key.any_)]
        yield combined([*anything, *is_like(key, where.key.like_), *exists])
    if where.flow_run_id is not None:
        yield combined(is_any(artifact.c.flow_run_id, where.flow_run_id.any_))
    if where.task_run_id is not None:
        yield combined(is_any(artifact.c.task_run_id, where.task_run_id.any_))
    if where.type is not None:
        kinds = where.type
        yield combined([*is_any(artifact.c.type, kinds.any_), *is_not_any(artifact.c.type, kinds.not_any_)])


def _of_runs(dialect: Dialect, filters: Filters) -> Iterable[Condition]:
    if filters.flows is not None or filters.flow_runs is not None or filters.deployments is not None:
        of_run = Filters(flows=filters.flows, flow_runs=filters.flow_runs, deployments=filters.deployments)
        yield artifact.c.flow_run_id.in_(select(flow_run.c.id).where(*of_flow_runs(dialect, of_run)))
    if filters.task_runs is not None:
        of_task = Filters(task_runs=filters.task_runs)
        yield artifact.c.task_run_id.in_(select(task_run.c.id).where(*of_task_runs(dialect, of_task)))
