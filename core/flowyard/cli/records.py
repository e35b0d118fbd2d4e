"""Runs, states and logs as JSON, with the names that the REST API uses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol, cast
from uuid import UUID

from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.blocks import BlockDocumentRecord, BlockSchemaRecord, BlockTypeRecord
from flowyard.schemas.events import LogEmitted
from flowyard.schemas.limits import ConcurrencyLimit
from flowyard.schemas.runs import Flow, FlowRun, TaskRun
from flowyard.schemas.states import ResultHandle, State
from flowyard.schemas.variables import VariableRecord


class _Kept(Protocol):
    @property
    def id(self) -> UUID: ...
    @property
    def created(self) -> datetime | None: ...
    @property
    def updated(self) -> datetime | None: ...


def flow_record(flow: Flow) -> dict[str, Any]:
    """Return a flow."""
    return _kept(
        flow,
        name=flow.name,
        tags=list(flow.tags),
    )


def block_type_record(kind: BlockTypeRecord) -> dict[str, Any]:
    """Return a block type."""
    return _kept(
        kind,
        name=kind.name,
        slug=kind.slug,
        logo_url=kind.logo_url,
        documentation_url=kind.documentation_url,
        description=kind.description,
        code_example=kind.code_example,
        is_protected=kind.is_protected,
        origin=kind.origin,
    )


def block_schema_record(schema: BlockSchemaRecord) -> dict[str, Any]:
    """Return the schema of a block type."""
    return _kept(
        schema,
        checksum=schema.checksum,
        version=schema.version,
        capabilities=schema.capabilities,
        fields=schema.fields,
        block_type_id=str(schema.block_type_id),
    )


def block_document_record(document: BlockDocumentRecord) -> dict[str, Any]:
    """Return a saved block, whose secrets the state backend has obfuscated."""
    kind = document.block_type
    return _kept(
        document,
        name=document.name,
        slug=f"{kind.slug if kind else ''}/{document.name}",
        block_type_id=str(document.block_type_id),
        block_type_name=kind.name if kind else None,
        block_schema_id=str(document.block_schema_id),
        is_anonymous=document.is_anonymous,
        data=document.data,
    )


def artifact_record(artifact: ArtifactRecord) -> dict[str, Any]:
    """Return a version of an artifact."""
    return _kept(
        artifact,
        key=artifact.key,
        type=artifact.type,
        description=artifact.description,
        data=artifact.data,
        metadata_=artifact.metadata,
        flow_run_id=_id(artifact.flow_run_id),
        task_run_id=_id(artifact.task_run_id),
    )


def variable_record(variable: VariableRecord) -> dict[str, Any]:
    """Return a variable."""
    return _kept(variable, name=variable.name, value=variable.value, tags=list(variable.tags))


def limit_record(limit: ConcurrencyLimit) -> dict[str, Any]:
    """Return a limit that code names."""
    return _kept(
        limit,
        name=limit.name,
        active=limit.active,
        limit=limit.limit,
        active_slots=limit.active_slots,
        denied_slots=limit.denied_slots,
        slot_decay_per_second=limit.slot_decay_per_second,
        avg_slot_occupancy_seconds=limit.avg_slot_occupancy_seconds,
    )


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


def _kept(record: _Kept, **facts: Any) -> dict[str, Any]:
    return {"id": str(record.id), **facts, "created": _time(record.created), "updated": _time(record.updated)}


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
