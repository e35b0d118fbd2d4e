"""Work queues by their own id, as agents of Prefect 2.7 know them; without a pool they are in that of the agents."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Header, Response, status
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.base import DateTime
from flowyard.schemas.api.flow_runs import FlowRunResponse
from flowyard.schemas.api.work_pools import (
    WorkQueueCreate,
    WorkQueueFilter,
    WorkQueueHealthPolicy,
    WorkQueueResponse,
    WorkQueueStatusDetail,
    WorkQueueUpdate,
)
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.api.work_pools import queue_changes, remove_queue
from flowyard.server.dependencies import Database, Limit, PageOf
from flowyard.server.proposals import missing
from flowyard.server.routes import Routes
from flowyard.store import handing_out, work_pools, work_queues
from flowyard.store.ordering import Page
from flowyard.store.served_flow_runs import answers_of

router = Routes(prefix="/work_queues", tags=["Work Queues"])


@router.post(
    "/",
    operation_id="create_work_queue__work_queues",
    response_model=WorkQueueResponse,
    status_code=status.HTTP_201_CREATED,
)
def create(body: WorkQueueCreate, database: Database) -> Response:
    """Make a queue in the pool of agents."""
    now = utcnow()

    def make(connection: Connection) -> WorkQueueResponse:
        pool = work_pools.agent_pool(connection, now=now)
        return work_queues.create(connection, pool.id, body, now=now)

    return answers.one(database.change(make), status.HTTP_201_CREATED)


@router.get("/name/{name}", operation_id="read_work_queue_by_name", response_model=WorkQueueResponse)
def read_by_name(name: str, database: Database) -> Response:
    """Return a queue in the pool of agents by its name."""
    return answers.one(database.read(lambda connection: work_queues.read_in(connection, work_pools.AGENT_POOL, name)))


@router.post("/filter", operation_id="read_work_queues__work_queues_filter", response_model=list[WorkQueueResponse])
def read_many(
    database: Database,
    page: PageOf,
    work_queues: Annotated[WorkQueueFilter | None, Body()] = None,
) -> Response:
    """Return queues of all work pools."""
    found = database.read(lambda connection: _queues(connection, work_queues, page))
    return answers.many(WorkQueueResponse, found)


@router.get("/{id}", operation_id="read_work_queue__work_queues_id", response_model=WorkQueueResponse)
def read(id: UUID, database: Database) -> Response:
    """Return a queue."""
    return answers.one(database.read(lambda connection: work_queues.read(connection, id)))


@router.patch("/{id}", operation_id="update_work_queue__work_queues_id", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: WorkQueueUpdate, database: Database) -> None:
    """Change a queue."""
    changes = queue_changes(body)
    database.change(
        lambda connection: work_queues.change(connection, work_queues.read(connection, id), changes, now=utcnow())
    )


@router.delete("/{id}", operation_id="delete_work_queue__work_queues_id", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a queue; its deployments stay, without one."""
    database.change(lambda connection: remove_queue(connection, work_queues.read(connection, id)))


@router.post("/{id}/get_runs", operation_id="read_work_queue_runs", response_model=list[FlowRunResponse])
def hand_out(
    id: UUID,
    database: Database,
    limit: Limit,
    scheduled_before: Annotated[DateTime | None, Body()] = None,
    agent_id: Annotated[UUID | None, Body()] = None,
    x_prefect_ui: Annotated[bool | None, Header()] = False,
) -> Response:
    """Return the runs of a queue that an agent does next; a look by the dashboard does not count as a poll."""
    now = utcnow()
    window = handing_out.Window(before=scheduled_before)

    def find(connection: Connection) -> list[FlowRunResponse]:
        queue = work_queues.read(connection, id)
        if queue.filter is None:
            rows = handing_out.of_queue_in_pool(connection, queue, window, limit=limit)
        else:
            rows = handing_out.by_filter(connection, database.dialect, queue, queue.filter, window, limit=limit)
        return answers_of(connection, rows, now)

    try:
        found = database.read(find)
    except ObjectNotFound as error:
        return missing(error)
    if not x_prefect_ui:
        database.change(lambda connection: work_queues.mark_polled(connection, [id], now=now))
    return answers.many(FlowRunResponse, found)


@router.get("/{id}/status", operation_id="read_work_queue_status", response_model=WorkQueueStatusDetail)
def read_status(id: UUID, database: Database) -> Response:
    """Say whether a queue is served: no run is late, and the last poll is less than a minute ago."""
    policy = WorkQueueHealthPolicy()
    now = utcnow()

    def look(connection: Connection) -> WorkQueueStatusDetail:
        queue = work_queues.read(connection, id)
        late = handing_out.count_late(connection, queue)
        is_polled = queue.last_polled is not None and queue.last_polled > now - work_queues.POLL_TIMEOUT
        return WorkQueueStatusDetail(
            healthy=is_polled and late == 0,
            late_runs_count=late,
            last_polled=queue.last_polled,
            health_check_policy=policy,
        )

    try:
        return answers.one(database.read(look))
    except ObjectNotFound as error:
        return missing(error)


def _queues(connection: Connection, where: WorkQueueFilter | None, page: Page) -> list[WorkQueueResponse]:
    # A function of its own because the name of the filter hides that of the module.
    return work_queues.read_many(connection, where, page)
