"""What a run of a deployment is made of, and what it must fit: shared by the REST API and the scheduler."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from flowyard.schemas.api.deployments import DeploymentResponse
from flowyard.schemas.api.work_pools import WorkPool, WorkQueueResponse
from flowyard.schemas.names import random_name
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.services import json_schemas
from flowyard.store.flow_runs import Origin

AUTO_SCHEDULED = "auto-scheduled"
"""The tag of runs that the scheduler has made."""


def check_parameters(
    deployment: DeploymentResponse, parameters: Mapping[str, Any], *, ignore_required: bool = False
) -> None:
    """Hold parameters to the schema of a deployment's flow.

    Raises:
        InvalidValues: they do not fit.
        UnusableSchema: the schema is none.
    """
    schema = deployment.parameter_openapi_schema
    if schema:
        json_schemas.check("the parameters", parameters, schema, ignore_required=ignore_required)


def check_job_variables(pool: WorkPool | None, *layers: Mapping[str, Any] | None, ignore_required: bool) -> None:
    """Hold job variables to the schema of a work pool.

    Args:
        pool: None, or one without a template, takes everything.
        *layers: variables, each put over those before it.
        ignore_required: others may come later.

    Raises:
        InvalidValues: they do not fit.
        UnusableSchema: the schema is none.
    """
    schema: Any = pool.base_job_template.get("variables") if pool is not None else None
    if not isinstance(schema, dict):
        return
    known = cast("dict[str, Any]", schema)
    values: dict[str, Any] = {} if ignore_required else json_schemas.defaults_of(known)
    for layer in layers:
        values.update(layer or {})
    json_schemas.check("the job variables", values, known, ignore_required=ignore_required)


def idempotency_key(deployment: DeploymentResponse, date: datetime) -> str:
    """Return the key that lets a date of a deployment make one run, whoever makes it."""
    return f"scheduled {deployment.id} {date.isoformat()}"


def scheduled_run(deployment: DeploymentResponse, date: datetime) -> tuple[FlowRun, State[Any]]:
    """Return the run that a schedule asks for, and its first state."""
    run = FlowRun(
        deployment.flow_id,
        random_name(),
        parameters=deployment.parameters,
        tags=[AUTO_SCHEDULED, *deployment.tags],
        deployment_id=deployment.id,
        idempotency_key=idempotency_key(deployment, date),
    )
    details = StateDetails(scheduled_time=date)
    return run, State(StateType.SCHEDULED, None, "Flow run scheduled", None, details)


def origin_of(
    deployment: DeploymentResponse,
    queue: WorkQueueResponse | None,
    *,
    auto_scheduled: bool = False,
    created_by: dict[str, Any] | None = None,
    job_variables: dict[str, Any] | None = None,
) -> Origin:
    """Return what a server knows of a run of a deployment; without a queue nobody but a runner gets it."""
    return Origin(
        deployment_version=deployment.version,
        work_queue_id=None if queue is None else queue.id,
        work_queue_name=None if queue is None else queue.name,
        auto_scheduled=auto_scheduled,
        infrastructure_document_id=deployment.infrastructure_document_id,
        created_by=created_by,
        job_variables=job_variables,
    )
