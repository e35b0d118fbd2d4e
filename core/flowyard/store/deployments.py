"""Rows of deployments; their schedules are in `schedules`, their runs in `handing_out` and `planned_runs`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete as delete_from
from sqlalchemy import func, select, update
from sqlalchemy.engine import Connection, Row
from sqlalchemy.sql import Select

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.base import CreatedBy, UpdatedBy
from flowyard.schemas.api.deployments import DeploymentResponse, DeploymentSchedule, DeploymentStatus
from flowyard.schemas.api.sorting import DeploymentSort
from flowyard.schemas.ids import new_id
from flowyard.store import schedules
from flowyard.store.deployment_tables import deployment, deployment_schedule, work_pool, work_queue
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.related import Filters, of_deployments
from flowyard.store.ordering import Order, Page
from flowyard.store.statuses import change_status
from flowyard.store.tables import flow

ORDERS = {
    DeploymentSort.CREATED_DESC: Order(deployment.c.created, is_descending=True),
    DeploymentSort.UPDATED_DESC: Order(deployment.c.updated, is_descending=True),
    DeploymentSort.NAME_ASC: Order(deployment.c.name),
    DeploymentSort.NAME_DESC: Order(deployment.c.name, is_descending=True),
}
"""The orders of a list."""
# Under names of their own: filters look into the same tables.
_QUEUE, _POOL = work_queue.alias(), work_pool.alias()
_JOINED = deployment.outerjoin(_QUEUE, _QUEUE.c.id == deployment.c.work_queue_id).outerjoin(
    _POOL, _POOL.c.id == _QUEUE.c.work_pool_id
)


def make(connection: Connection, dialect: Dialect, values: dict[str, Any], *, now: datetime) -> tuple[UUID, bool]:
    """Store a deployment, or change the one of that flow and name; return its id, and whether it was made now."""
    made = new_id()
    new = {"id": made, "status": DeploymentStatus.NOT_READY.value, "created": now, "updated": now, **values}
    statement = dialect.insert(deployment).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    if connection.execute(statement, new).rowcount > 0:
        return made, True
    same = (deployment.c.flow_id == values["flow_id"]) & (deployment.c.name == values["name"])
    connection.execute(update(deployment).where(same).values(**values, updated=now))
    return connection.execute(select(deployment.c.id).where(same)).scalar_one(), False


def read(connection: Connection, deployment_id: UUID) -> DeploymentResponse:
    """Return a deployment with its schedules.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    found = _answers(connection, connection.execute(_select().where(deployment.c.id == deployment_id)).all())
    if not found:
        raise ObjectNotFound("deployment", deployment_id)
    return found[0]


def read_by_name(connection: Connection, flow_name: str, name: str) -> DeploymentResponse:
    """Return a deployment by its name and that of its flow.

    Raises:
        ObjectNotFound: there is none.
    """
    of_flow = select(flow.c.id).where(flow.c.name == flow_name).scalar_subquery()
    query = _select().where(deployment.c.flow_id == of_flow, deployment.c.name == name)
    found = _answers(connection, connection.execute(query).all())
    if not found:
        raise ObjectNotFound("deployment", f"{flow_name}/{name}")
    return found[0]


def read_all(connection: Connection, deployment_ids: Collection[UUID]) -> list[DeploymentResponse]:
    """Return the deployments of these ids that there are."""
    query = _select().where(deployment.c.id.in_(deployment_ids)).order_by(deployment.c.id)
    return _answers(connection, connection.execute(query).all())


def lock(connection: Connection, deployment_id: UUID) -> DeploymentResponse:
    """Return a deployment that nobody else can change until this transaction ends.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    connection.execute(select(deployment.c.id).where(deployment.c.id == deployment_id).with_for_update())
    return read(connection, deployment_id)


def read_many(
    connection: Connection, dialect: Dialect, filters: Filters, page: Page, *, sort: DeploymentSort
) -> list[DeploymentResponse]:
    """Return the deployments that filters take; equal ones in the order of their ids.

    Raises:
        ObjectNotFound: there is no deployment with which the page before ended.
    """
    query = _select().where(*of_deployments(dialect, filters))
    query = page.of(connection, query, ORDERS[sort], deployment.c.id, "deployment")
    return _answers(connection, connection.execute(query).all())


def count(connection: Connection, dialect: Dialect, filters: Filters) -> int:
    """Count the deployments that filters take."""
    query = select(func.count()).select_from(deployment).where(*of_deployments(dialect, filters))
    return connection.execute(query).scalar_one()


def scheduled_page(
    connection: Connection, *, after: UUID | None, changed_since: datetime | None, limit: int
) -> list[UUID]:
    """Return deployments whose schedules are to be followed, in the order of their ids, page by page."""
    has_schedule = select(deployment_schedule.c.id).where(
        deployment_schedule.c.deployment_id == deployment.c.id, deployment_schedule.c.active.is_(True)
    )
    query = select(deployment.c.id).where(deployment.c.paused.is_(False), has_schedule.exists())
    if after is not None:
        query = query.where(deployment.c.id > after)
    if changed_since is not None:
        query = query.where(deployment.c.updated >= changed_since)
    return list(connection.execute(query.order_by(deployment.c.id).limit(limit)).scalars())


def change(connection: Connection, deployment_id: UUID, changes: dict[str, Any], *, now: datetime) -> None:
    """Change columns of a deployment; none at all says that its schedules have changed.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    changed = update(deployment).where(deployment.c.id == deployment_id).values(**changes, updated=now)
    if not connection.execute(changed).rowcount:
        raise ObjectNotFound("deployment", deployment_id)


def mark_polled(connection: Connection, deployment_ids: Collection[UUID], *, now: datetime) -> None:
    """Say that somebody asks for the runs of these deployments."""
    polled = deployment.c.id.in_(deployment_ids)
    connection.execute(update(deployment).where(polled).values(last_polled=now))
    change_status(connection, deployment, DeploymentStatus.READY.value, polled)


def mark_not_ready(connection: Connection, *, polled_before: datetime, queue_polled_before: datetime) -> int:
    """Say so of the deployments for which nobody asks, nor for their queue; return how many these are."""
    is_silent = deployment.c.last_polled.is_(None) | (deployment.c.last_polled <= polled_before)
    served = select(work_queue.c.id).where(work_queue.c.last_polled > queue_polled_before)
    is_unserved = deployment.c.work_queue_id.is_(None) | deployment.c.work_queue_id.not_in(served)
    return change_status(connection, deployment, DeploymentStatus.NOT_READY.value, is_silent, is_unserved)


def delete(connection: Connection, deployment_id: UUID) -> None:
    """Delete a deployment with its schedules; its runs stay.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if not connection.execute(delete_from(deployment).where(deployment.c.id == deployment_id)).rowcount:
        raise ObjectNotFound("deployment", deployment_id)
    connection.execute(delete_from(deployment_schedule).where(deployment_schedule.c.deployment_id == deployment_id))


def delete_of_flow(connection: Connection, flow_id: UUID) -> None:
    """Delete the deployments of a flow with their schedules; runs stay."""
    of_flow = deployment.c.flow_id == flow_id
    ids = select(deployment.c.id).where(of_flow)
    connection.execute(delete_from(deployment_schedule).where(deployment_schedule.c.deployment_id.in_(ids)))
    connection.execute(delete_from(deployment).where(of_flow))


def has_flow(connection: Connection, flow_id: UUID) -> bool:
    """Say whether there is a flow of that id."""
    return connection.execute(select(flow.c.id).where(flow.c.id == flow_id)).first() is not None


def _select() -> Select[Any]:
    names = (_QUEUE.c.name.label("work_queue_name"), _POOL.c.name.label("work_pool_name"))
    return select(*deployment.c, *names).select_from(_JOINED)


def _answers(connection: Connection, rows: Sequence[Row[Any]]) -> list[DeploymentResponse]:
    if not rows:
        return []
    followed = schedules.of_deployments(connection, [row.id for row in rows])
    return [_answer(row, followed[row.id]) for row in rows]


def _answer(row: Row[Any], followed: list[DeploymentSchedule]) -> DeploymentResponse:
    # Not validated: the columns hold what they hold, and a list has 200 rows.
    return DeploymentResponse.model_construct(
        id=row.id,
        created=row.created,
        updated=row.updated,
        infra_overrides=row.job_variables,
        name=row.name,
        version=row.version,
        description=row.description,
        flow_id=row.flow_id,
        schedule=followed[0].schedule if len(followed) == 1 else None,
        is_schedule_active=not row.paused,
        paused=row.paused,
        schedules=followed,
        job_variables=row.job_variables,
        parameters=row.parameters,
        tags=row.tags,
        work_queue_name=row.work_queue_name,
        last_polled=row.last_polled,
        parameter_openapi_schema=row.parameter_openapi_schema,
        path=row.path,
        pull_steps=row.pull_steps,
        entrypoint=row.entrypoint,
        manifest_path=row.manifest_path,
        storage_document_id=row.storage_document_id,
        infrastructure_document_id=row.infrastructure_document_id,
        created_by=None if row.created_by is None else CreatedBy.model_construct(**row.created_by),
        updated_by=None if row.updated_by is None else UpdatedBy.model_construct(**row.updated_by),
        work_pool_name=row.work_pool_name,
        status=DeploymentStatus(row.status),
        enforce_parameter_schema=row.enforce_parameter_schema,
    )
