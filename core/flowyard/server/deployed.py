"""What clients send about deployments, as the store has it, and what is refused about it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import HTTPException, status
from sqlalchemy import select
from sqlalchemy.engine import Connection

from flowyard.exceptions import InvalidValues, UnresolvedPlaceholder, UnusableSchema
from flowyard.schemas.api.deployments import (
    DeploymentCreate,
    DeploymentResponse,
    DeploymentScheduleCreate,
    DeploymentUpdate,
)
from flowyard.schemas.api.work_pools import WorkQueueResponse
from flowyard.server.dependencies import changes_of
from flowyard.services.placeholders import fill_in, has_placeholders
from flowyard.store import variables, work_pools, work_queues
from flowyard.store.block_documents import block_document

# Columns that take what the body says as it is.
_PLAIN = (
    "version",
    "description",
    "tags",
    "enforce_parameter_schema",
    "path",
    "entrypoint",
    "manifest_path",
    "storage_document_id",
    "infrastructure_document_id",
)
_ONLY_AT_FIRST = ("name", "flow_id", "parameter_openapi_schema", "pull_steps")
_NEVER_NULL = ("tags", "enforce_parameter_schema", "parameters", "job_variables")


def columns_of(connection: Connection, body: DeploymentCreate) -> dict[str, Any]:
    """Return the columns of a deployment as its maker wants them, without its queue.

    Raises:
        HTTPException: a block that it names is not there.
    """
    for document_id in (body.storage_document_id, body.infrastructure_document_id):
        _check_document(connection, document_id)
    sent = body.model_fields_set
    return {
        **{name: getattr(body, name) for name in (*_ONLY_AT_FIRST, *_PLAIN)},
        "paused": body.paused if "paused" in sent else not body.is_schedule_active,
        "parameters": filled_in(connection, body.parameters),
        "job_variables": filled_in(connection, body.job_variables or body.infra_overrides or {}),
    }


def schedules_of(body: DeploymentCreate) -> Sequence[DeploymentScheduleCreate]:
    """Return the schedules that a deployment is made with."""
    if body.schedules or body.schedule is None:
        return body.schedules
    return [DeploymentScheduleCreate(schedule=body.schedule, active=body.is_schedule_active)]


def changes_to(
    before: DeploymentResponse, body: DeploymentUpdate
) -> tuple[dict[str, Any], Sequence[DeploymentScheduleCreate] | None]:
    """Return the columns that an update changes, and the schedules it wants; None leaves these as they are.

    Raises:
        HTTPException: it means the one schedule of a deployment that has several.
    """
    sent = changes_of(body)
    values = {name: sent[name] for name in (*_PLAIN, "parameters", "job_variables") if name in sent}
    if "infra_overrides" in sent and "job_variables" not in sent:
        values["job_variables"] = sent["infra_overrides"]
    values = {name: value for name, value in values.items() if value is not None or name not in _NEVER_NULL}
    if "paused" in sent:
        values["paused"] = sent["paused"]
    elif "is_schedule_active" in sent:
        values["paused"] = not sent["is_schedule_active"]
    if "schedules" in sent:
        return values, sent["schedules"]
    if "schedule" not in sent:
        return values, None
    if len(before.schedules) > 1:
        raise HTTPException(
            status.HTTP_422_UNPROCESSABLE_CONTENT,
            f"The deployment has {len(before.schedules)} schedules: change them with 'schedules', not with 'schedule'.",
        )
    schedule = body.schedule
    return values, [] if schedule is None else [DeploymentScheduleCreate(schedule=schedule)]


def find_queue(
    connection: Connection, pool_name: str | None, queue_name: str | None, *, now: datetime
) -> WorkQueueResponse | None:
    """Return the queue that runs wait in, made if it is not there yet; None when neither pool nor queue is named.

    Raises:
        ObjectNotFound: there is no such pool.
    """
    if pool_name is None and queue_name is None:
        return None
    pool = work_pools.agent_pool(connection, now=now) if pool_name is None else work_pools.read(connection, pool_name)
    if queue_name is None:
        assert pool.default_queue_id is not None  # every pool has one
        return work_queues.read(connection, pool.default_queue_id)
    return work_queues.ensure(connection, pool.id, queue_name, now=now)


def filled_in(connection: Connection, values: dict[str, Any]) -> dict[str, Any]:
    """Return values with their placeholders filled in.

    Raises:
        HTTPException: one cannot be.
    """
    if not has_placeholders(values):
        return values

    def variable(name: str) -> Any:
        found = variables.find(connection, name)
        if found is None:
            raise LookupError(name)
        return found.value

    with refusals(invalid=status.HTTP_400_BAD_REQUEST):
        return fill_in(values, variable=variable)


@contextlib.contextmanager
def refusals(*, invalid: int) -> Generator[None]:
    """Answer what is refused about values in the block; `invalid` is the status of those that do not fit a schema."""
    try:
        yield
    except InvalidValues as error:
        raise HTTPException(invalid, f"{error}") from error
    except UnusableSchema as error:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, f"{error}") from error
    except UnresolvedPlaceholder as error:
        raise HTTPException(status.HTTP_400_BAD_REQUEST, f"{error}") from error


def _check_document(connection: Connection, document_id: UUID | None) -> None:
    if document_id is None:
        return
    if connection.execute(select(block_document.c.id).where(block_document.c.id == document_id)).first() is None:
        raise HTTPException(
            status.HTTP_409_CONFLICT, f"There is no block document {document_id}: save the block before the deployment."
        )
