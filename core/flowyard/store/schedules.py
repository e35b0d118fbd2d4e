"""Rows of the schedules of deployments."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import delete as delete_from
from sqlalchemy import insert, select, update
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.deployments import DeploymentSchedule, DeploymentScheduleCreate
from flowyard.schemas.api.schedules import Schedule
from flowyard.schemas.ids import new_id
from flowyard.store.deployment_tables import deployment_schedule

_SCHEDULE: TypeAdapter[Schedule] = TypeAdapter(Schedule)


def add(
    connection: Connection, deployment_id: UUID, schedules: Iterable[DeploymentScheduleCreate], *, now: datetime
) -> list[DeploymentSchedule]:
    """Store new schedules of a deployment."""
    made = [
        DeploymentSchedule(id=new_id(), deployment_id=deployment_id, created=now, updated=now, **dict(schedule))
        for schedule in schedules
    ]
    for schedule in made:
        stored = schedule.schedule.model_dump(mode="json")
        connection.execute(insert(deployment_schedule), {**dict(schedule), "schedule": stored})
    return made


def replace(
    connection: Connection, deployment_id: UUID, schedules: Iterable[DeploymentScheduleCreate], *, now: datetime
) -> None:
    """Give a deployment other schedules than it had."""
    connection.execute(delete_from(deployment_schedule).where(deployment_schedule.c.deployment_id == deployment_id))
    add(connection, deployment_id, schedules, now=now)


def of_deployments(connection: Connection, deployment_ids: Collection[UUID]) -> dict[UUID, list[DeploymentSchedule]]:
    """Return the schedules of deployments by the deployment, the newest first."""
    found: dict[UUID, list[DeploymentSchedule]] = {deployment_id: [] for deployment_id in deployment_ids}
    query = select(deployment_schedule).where(deployment_schedule.c.deployment_id.in_(deployment_ids))
    for row in connection.execute(query.order_by(deployment_schedule.c.id.desc())):
        found[row.deployment_id].append(_schedule_of(row))
    return found


def change(
    connection: Connection, deployment_id: UUID, schedule_id: UUID, changes: dict[str, Any], *, now: datetime
) -> None:
    """Change columns of a schedule.

    Raises:
        ObjectNotFound: the deployment has none of that id.
    """
    values = dict(changes)
    if "schedule" in values:
        values["schedule"] = values["schedule"].model_dump(mode="json")
    changed = update(deployment_schedule).where(*_is(deployment_id, schedule_id)).values(**values, updated=now)
    if not connection.execute(changed).rowcount:
        raise ObjectNotFound("deployment schedule", schedule_id)


def delete(connection: Connection, deployment_id: UUID, schedule_id: UUID) -> None:
    """Delete a schedule of a deployment.

    Raises:
        ObjectNotFound: the deployment has none of that id.
    """
    if not connection.execute(delete_from(deployment_schedule).where(*_is(deployment_id, schedule_id))).rowcount:
        raise ObjectNotFound("deployment schedule", schedule_id)


def _is(deployment_id: UUID, schedule_id: UUID) -> tuple[Any, Any]:
    return deployment_schedule.c.deployment_id == deployment_id, deployment_schedule.c.id == schedule_id


def _schedule_of(row: Row[Any]) -> DeploymentSchedule:
    return DeploymentSchedule.model_construct(
        id=row.id,
        created=row.created,
        updated=row.updated,
        deployment_id=row.deployment_id,
        schedule=_SCHEDULE.validate_python(row.schedule),
        active=row.active,
        max_active_runs=row.max_active_runs,
        max_scheduled_runs=row.max_scheduled_runs,
        catchup=row.catchup,
    )
