"""The schedules of a deployment. With each change the runs that they asked for and that wait are taken back."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Response, status
from sqlalchemy.engine import Connection

from flowyard.schemas.api.deployments import DeploymentSchedule, DeploymentScheduleCreate, DeploymentScheduleUpdate
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, changes_of
from flowyard.server.routes import Routes
from flowyard.store import deployments, planned_runs, schedules

router = Routes(prefix="/deployments", tags=["Deployments"])


@router.get("/{id}/schedules", operation_id="read_deployment_schedules", response_model=list[DeploymentSchedule])
def read_many(id: UUID, database: Database) -> Response:
    """Return the schedules of a deployment, the newest first."""
    found = database.read(lambda connection: deployments.read(connection, id).schedules)
    return answers.many(DeploymentSchedule, found)


@router.post(
    "/{id}/schedules",
    operation_id="create_deployment_schedules",
    response_model=list[DeploymentSchedule],
    status_code=status.HTTP_201_CREATED,
)
def create(id: UUID, body: Annotated[list[DeploymentScheduleCreate], Body()], database: Database) -> Response:
    """Give a deployment more schedules."""
    now = utcnow()

    def make(connection: Connection) -> list[DeploymentSchedule]:
        _take_back(connection, id)
        return schedules.add(connection, id, body, now=now)

    return answers.many(DeploymentSchedule, database.change(make), status.HTTP_201_CREATED)


@router.patch(
    "/{id}/schedules/{schedule_id}",
    operation_id="update_deployment_schedule",
    status_code=status.HTTP_204_NO_CONTENT,
)
def update(id: UUID, schedule_id: UUID, body: DeploymentScheduleUpdate, database: Database) -> None:
    """Change a schedule of a deployment."""
    nullable = ("max_active_runs", "max_scheduled_runs")
    changes = {name: value for name, value in changes_of(body).items() if value is not None or name in nullable}

    def change(connection: Connection) -> None:
        _take_back(connection, id)
        schedules.change(connection, id, schedule_id, changes, now=utcnow())

    database.change(change)


@router.delete(
    "/{id}/schedules/{schedule_id}",
    operation_id="delete_deployment_schedule",
    status_code=status.HTTP_204_NO_CONTENT,
)
def delete(id: UUID, schedule_id: UUID, database: Database) -> None:
    """Delete a schedule of a deployment."""

    def remove(connection: Connection) -> None:
        _take_back(connection, id)
        schedules.delete(connection, id, schedule_id)

    database.change(remove)


def _take_back(connection: Connection, deployment_id: UUID) -> None:
    # The scheduler sees that the deployment was changed, and makes the runs that are wanted now.
    deployments.change(connection, deployment_id, {}, now=utcnow())
    planned_runs.remove(connection, deployment_id, auto_scheduled_only=True)
