"""Runs, states and logs as JSON, with the names that the REST API uses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.blocks import BlockDocumentRecord
from flowyard.schemas.events import LogEmitted
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import ResultHandle, State

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def fields_of(record: DataclassInstance) -> dict[str, Any]:
    """Return all fields of a record: the id first, times as text."""
    found = {field.name: getattr(record, field.name) for field in fields(record)}
    plain_fields = {
        name: str(value) if isinstance(value, UUID) else _time(value) if isinstance(value, datetime) else value
        for name, value in found.items()
    }
    return {"id": plain_fields.pop("id"), **plain_fields}


def block_document_record(document: BlockDocumentRecord) -> dict[str, Any]:
    """Return a saved block, whose secrets the state backend has obfuscated."""
    kind = document.block_type
    return {
        "id": str(document.id),
        "name": document.name,
        "slug": f"{kind.slug if kind else ''}/{document.name}",
        "block_type_id": str(document.block_type_id),
        "block_type_name": kind.name if kind else None,
        "block_schema_id": str(document.block_schema_id),
        "is_anonymous": document.is_anonymous,
        "data": document.data,
        "created": _time(document.created),
        "updated": _time(document.updated),
    }


def artifact_record(artifact: ArtifactRecord) -> dict[str, Any]:
    """Return a version of an artifact."""
    return {"metadata_" if name == "metadata" else name: value for name, value in fields_of(artifact).items()}


def state_record(state: State[Any] | None) -> dict[str, Any] | None:
    """Return a state; of its value what is recorded about it."""
    if state is None:
        return None
    data: object = state.data
    return {
        "id": str(state.id),
        "type": state.type.value,
        "name": state.name,
        "timestamp": _time(state.timestamp),
        "message": state.message,
        "data": data.to_record() if isinstance(data, ResultHandle) else None,
        "state_details": state.state_details.to_record(),
    }


def flow_run_record(run: FlowRun) -> dict[str, Any]:
    """Return a flow run."""
    return {
        "id": str(run.id),
        "name": run.name,
        "flow_id": str(run.flow_id),
        "flow_name": run.flow_name,
        "flow_version": run.flow_version,
        "parameters": plain(run.parameters),
        "context": plain(run.context),
        "tags": sorted(run.tags),
        "parent_task_run_id": _id(run.parent_task_run_id),
        "deployment_id": _id(run.deployment_id),
        "infrastructure_pid": run.infrastructure_pid,
        "idempotency_key": run.idempotency_key,
        "start": {
            "entrypoint": run.start.entrypoint,
            "source_hash": run.start.source_hash,
            "working_directory": run.start.working_directory,
            "parameters_key": run.start.parameters_key,
        },
        **_progress(run),
    }


def task_run_record(run: TaskRun) -> dict[str, Any]:
    """Return a task run."""
    return {
        "id": str(run.id),
        "name": run.name,
        "flow_run_id": _id(run.flow_run_id),
        "parent_task_run_id": _id(run.parent_task_run_id),
        "task_name": run.task_name,
        "task_key": run.task_key,
        "dynamic_key": run.dynamic_key,
        "task_version": run.task_version,
        "tags": sorted(run.tags),
        "task_inputs": plain(run.task_inputs),
        "cache_key": run.cache_key,
        "cache_expiration": _time(run.cache_expiration),
        "flow_run_run_count": run.flow_run_run_count,
        "metrics": run.metrics.to_record() if run.metrics is not None else None,
        **_progress(run),
    }


def log_record(log: LogEmitted) -> dict[str, Any]:
    """Return a log line."""
    return {
        "flow_run_id": _id(log.flow_run_id),
        "task_run_id": _id(log.task_run_id),
        "name": log.name,
        "level": log.level,
        "message": log.message,
        "timestamp": _time(log.timestamp),
    }


def plain(value: Any) -> Any:
    """Return a value as JSON has it; what JSON does not know, NaN and infinity included, becomes text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in cast("Mapping[object, object]", value).items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in cast("Iterable[object]", value)]
    return str(value)


def _progress(run: FlowRun | TaskRun) -> dict[str, Any]:
    return {
        "state_type": run.state_type.value if run.state_type else None,
        "state_name": run.state_name,
        "state": state_record(run.state),
        "run_count": run.run_count,
        "empirical_policy": run.policy.to_record(),
        "expected_start_time": _time(run.expected_start_time),
        "next_scheduled_start_time": _time(run.next_scheduled_start_time),
        "start_time": _time(run.start_time),
        "end_time": _time(run.end_time),
        "total_run_time": run.total_run_time.total_seconds(),
        "created": _time(run.created),
        "updated": _time(run.updated),
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _id(identifier: object) -> str | None:
    return str(identifier) if identifier else None
