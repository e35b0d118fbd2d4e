"""Deployments: made, read, changed, run, handed out to those who serve them. Schedules are in `schedules`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, HTTPException, Response, status
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.base import DateTime, Seconds
from flowyard.schemas.api.deployments import (
    DeploymentCreate,
    DeploymentResponse,
    DeploymentUpdate,
)
from flowyard.schemas.api.flow_runs import FlowRunResponse
from flowyard.schemas.api.sorting import DeploymentSort
from flowyard.schemas.api.work_pools import WorkQueue, WorkQueueResponse
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, Limit, PageOf
from flowyard.server.deployed import (
    changes_to,
    columns_of,
    filled_in,
    find_queue,
    refusals,
    schedules_of,
)
from flowyard.server.filters import FlowRunsFiltered
from flowyard.server.provenance import Maker
from flowyard.server.routes import Routes
from flowyard.services import deployment_runs
from flowyard.services.scheduler import Horizon, schedule_now
from flowyard.store import deployments, handing_out, planned_runs, schedules, work_pools, work_queues
from flowyard.store.served_flow_runs import answers_of

router = Routes(prefix="/deployments", tags=["Deployments"])


@router.post("/", operation_id="create_deployment", response_model=DeploymentResponse)
def create(body: DeploymentCreate, database: Database, maker: Maker) -> Response:
    """Make a deployment, or change the one of the same flow and name; its schedules become those of the body."""
    now = utcnow()

    def make(connection: Connection) -> tuple[DeploymentResponse, bool]:
        if not deployments.has_flow(connection, body.flow_id):
            raise HTTPException(status.HTTP_409_CONFLICT, f"There is no flow {body.flow_id} that could be deployed.")
        queue = find_queue(connection, body.work_pool_name, body.work_queue_name, now=now)
        values = columns_of(connection, body)
        _check_job_variables(connection, body.work_pool_name, values["job_variables"])
        values["work_queue_id"] = None if queue is None else queue.id
        values["updated_by"] = None if maker is None else maker.model_dump(mode="json")
        made, is_new = deployments.make(connection, database.dialect, values, now=now)
        if is_new:
            deployments.change(connection, made, {"created_by": values["updated_by"]}, now=now)
        else:
            planned_runs.remove(connection, made, auto_scheduled_only=True)
        schedules.replace(connection, made, schedules_of(body), now=now)
        found = deployments.read(connection, made)
        if found.enforce_parameter_schema:
            with refusals(invalid=status.HTTP_422_UNPROCESSABLE_CONTENT):
                deployment_runs.check_parameters(found, found.parameters, ignore_required=True)
        return found, is_new

    made, is_new = database.change(make)
    return answers.created(made, is_new=is_new)


@router.post("/filter", operation_id="read_deployments", response_model=list[DeploymentResponse])
def read_many(
    filters: FlowRunsFiltered,
    database: Database,
    page: PageOf,
    sort: Annotated[DeploymentSort, Body()] = DeploymentSort.NAME_ASC,
) -> Response:
    """Return deployments."""
    found = database.read(
        lambda connection: deployments.read_many(connection, database.dialect, filters, page, sort=sort)
    )
    return answers.many(DeploymentResponse, found)


@router.post("/count", operation_id="count_deployments")
def count(filters: FlowRunsFiltered, database: Database) -> int:
    """Count deployments."""
    return database.read(lambda connection: deployments.count(connection, database.dialect, filters))


@router.post(
    "/get_scheduled_flow_runs",
    operation_id="get_scheduled_flow_runs_for_deployments",
    response_model=list[FlowRunResponse],
)
def hand_out(
    database: Database,
    limit: Limit,
    deployment_ids: Annotated[list[UUID], Body()],
    scheduled_before: Annotated[DateTime | None, Body()] = None,
) -> Response:
    """Return the runs of deployments that the one who serves them does next, the one that was due first comes first."""
    now = utcnow()
    window = handing_out.Window(before=scheduled_before)

    def find(connection: Connection) -> list[FlowRunResponse]:
        rows = handing_out.of_deployments(connection, deployment_ids, window, limit=limit)
        return answers_of(connection, rows, now)

    found = database.read(find)
    database.change(lambda connection: deployments.mark_polled(connection, deployment_ids, now=now))
    return answers.many(FlowRunResponse, found)


@router.get(
    "/name/{flow_name}/{deployment_name}", operation_id="read_deployment_by_name", response_model=DeploymentResponse
)
def read_by_name(flow_name: str, deployment_name: str, database: Database) -> Response:
    """Return the deployment of a name of the flow of a name."""
    return answers.one(
        database.read(lambda connection: deployments.read_by_name(connection, flow_name, deployment_name))
    )


@router.get("/{id}", operation_id="read_deployment", response_model=DeploymentResponse)
def read(id: UUID, database: Database) -> Response:
    """Return a deployment."""
    return answers.one(database.read(lambda connection: deployments.read(connection, id)))


@router.patch("/{id}", operation_id="update_deployment", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: DeploymentUpdate, database: Database, maker: Maker) -> None:
    """Change a deployment; the runs that it was scheduled for are taken back, and made anew as it is now."""
    now = utcnow()

    def change(connection: Connection) -> None:
        before = deployments.lock(connection, id)
        values, followed = changes_to(before, body)
        if "parameters" in values:
            values["parameters"] = filled_in(connection, values["parameters"])
        if "job_variables" in values:
            values["job_variables"] = filled_in(connection, values["job_variables"])
        pool_name = body.work_pool_name or before.work_pool_name
        if body.work_pool_name or body.work_queue_name:
            queue = find_queue(connection, pool_name, body.work_queue_name, now=now)
            values["work_queue_id"] = None if queue is None else queue.id
        if "job_variables" in values or body.work_pool_name:
            _check_job_variables(connection, pool_name, values.get("job_variables", before.job_variables))
        enforced = values.get("enforce_parameter_schema", before.enforce_parameter_schema)
        if enforced and "parameters" in values:
            with refusals(invalid=status.HTTP_409_CONFLICT):
                deployment_runs.check_parameters(before, values["parameters"], ignore_required=True)
        values["updated_by"] = None if maker is None else maker.model_dump(mode="json")
        deployments.change(connection, id, values, now=now)
        if followed is not None:
            schedules.replace(connection, id, followed, now=now)
        planned_runs.remove(connection, id, auto_scheduled_only=True)

    database.change(change)


@router.delete("/{id}", operation_id="delete_deployment", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a deployment with the runs of it that have not begun; all others stay."""

    def remove(connection: Connection) -> None:
        deployments.delete(connection, id)
        planned_runs.remove(connection, id, auto_scheduled_only=False)

    database.change(remove)


@router.post("/{id}/schedule", operation_id="schedule_deployment")
def schedule(
    id: UUID,
    database: Database,
    start_time: Annotated[DateTime | None, Body()] = None,
    end_time: Annotated[DateTime | None, Body()] = None,
    min_time: Annotated[Seconds | None, Body()] = None,
    min_runs: Annotated[int | None, Body()] = None,
    max_runs: Annotated[int | None, Body()] = None,
) -> None:
    """Make the runs that the schedules ask for now, and in a time of one's choice."""
    usual = Horizon.from_settings(database.settings)
    horizon = Horizon(
        min_runs=usual.min_runs if min_runs is None else min_runs,
        max_runs=usual.max_runs if max_runs is None else min(max(max_runs, 0), usual.max_runs),
        min_time=usual.min_time if min_time is None else min_time,
        max_time=usual.max_time,
        max_runs_of_schedule=usual.max_runs_of_schedule,
    )
    start = start_time or utcnow()
    try:
        end = end_time or start + usual.max_time
        _ = start + horizon.min_time + timedelta(days=1)
    except OverflowError as error:
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, f"That is too far away: {error}.") from error
    database.change_plainly(lambda connection: schedule_now(connection, id, horizon, start=start, end=end))


@router.post("/{id}/resume_deployment", operation_id="resume_deployment")
@router.post("/{id}/set_schedule_active", operation_id="resume_deployment__deployments_id_set_schedule_active")
def resume(id: UUID, database: Database) -> None:
    """Follow the schedules of a deployment again."""
    database.change(lambda connection: deployments.change(connection, id, {"paused": False}, now=utcnow()))


@router.post("/{id}/pause_deployment", operation_id="pause_deployment")
@router.post("/{id}/set_schedule_inactive", operation_id="pause_deployment__deployments_id_set_schedule_inactive")
def pause(id: UUID, database: Database) -> None:
    """Do not follow the schedules of a deployment; the runs that they asked for and that wait are taken back."""

    def act(connection: Connection) -> None:
        deployments.change(connection, id, {"paused": True}, now=utcnow())
        planned_runs.remove(connection, id, auto_scheduled_only=True)

    database.change(act)


@router.get(
    "/{id}/work_queue_check",
    operation_id="work_queue_check_for_deployment",
    response_model=list[WorkQueue],
    deprecated=True,
)
def check_queues(id: UUID, database: Database) -> Response:
    """Return the queues that take runs of a deployment: its own, and those whose filter meets it."""

    def find(connection: Connection) -> list[WorkQueue]:
        deployment = deployments.read(connection, id)
        found: list[WorkQueueResponse] = []
        if deployment.work_pool_name is not None and deployment.work_queue_name is not None:
            found.append(work_queues.read_in(connection, deployment.work_pool_name, deployment.work_queue_name))
        for queue in work_queues.with_filter(connection):
            where = queue.filter
            assert where is not None  # that is what was asked for
            has_tags = set(where.tags or ()) <= set(deployment.tags)
            if has_tags and (not where.deployment_ids or id in where.deployment_ids):
                found.append(queue)
        return [
            WorkQueue.model_construct(**{name: getattr(one, name) for name in WorkQueue.model_fields}) for one in found
        ]

    return answers.many(WorkQueue, database.read(find))


def _check_job_variables(connection: Connection, pool_name: str | None, job_variables: dict[str, Any]) -> None:
    if pool_name is None:
        return
    try:
        pool = work_pools.read(connection, pool_name)
    except ObjectNotFound:
        return  # its own error, if it was asked for
    with refusals(invalid=status.HTTP_422_UNPROCESSABLE_CONTENT):
        deployment_runs.check_job_variables(pool, job_variables, ignore_required=True)
