"""Work pools, their queues and their workers, and what is handed out to workers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, HTTPException, Response, status
from sqlalchemy.engine import Connection

from flowyard.schemas.api.base import DateTime
from flowyard.schemas.api.flow_runs import FlowRun, FlowRunResponse
from flowyard.schemas.api.work_pools import (
    WholeSeconds,
    WorkerFilter,
    WorkerFlowRunResponse,
    WorkerResponse,
    WorkPool,
    WorkPoolCreate,
    WorkPoolFilter,
    WorkPoolUpdate,
    WorkQueueCreate,
    WorkQueueFilter,
    WorkQueueResponse,
    WorkQueueUpdate,
)
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, Limit, PageOf, changes_of
from flowyard.server.routes import Routes
from flowyard.store import handing_out, work_pools, work_queues, workers
from flowyard.store.ordering import Page
from flowyard.store.served_flow_runs import answers_of

router = Routes(prefix="/work_pools", tags=["Work Pools"])
_RESERVED = "prefect"
_CHANGEABLE = {"is_paused", "concurrency_limit"}


@router.post("/", operation_id="create_work_pool", response_model=WorkPool, status_code=status.HTTP_201_CREATED)
def create(body: WorkPoolCreate, database: Database) -> Response:
    """Make a work pool with its default queue."""
    if not body.name.strip():
        raise HTTPException(status.HTTP_400_BAD_REQUEST, "The name of a work pool cannot be empty.")
    if _is_reserved(body.name):
        raise HTTPException(
            status.HTTP_403_FORBIDDEN,
            f"{body.name!r}: names of work pools that begin with 'prefect' are reserved; use another one.",
        )
    made = database.change(lambda connection: work_pools.create(connection, body, now=utcnow()))
    return answers.one(made, status.HTTP_201_CREATED)


@router.post("/filter", operation_id="read_work_pools", response_model=list[WorkPool])
def read_many(
    database: Database,
    page: PageOf,
    work_pools: Annotated[WorkPoolFilter | None, Body()] = None,
) -> Response:
    """Return work pools in the order of their names."""
    return answers.many(WorkPool, database.read(lambda connection: _pools(connection, work_pools, page)))


@router.post("/count", operation_id="count_work_pools")
def count(database: Database, work_pools: Annotated[WorkPoolFilter | None, Body(embed=True)] = None) -> int:
    """Count work pools."""
    return database.read(lambda connection: _count(connection, work_pools))


@router.get("/{name}", operation_id="read_work_pool", response_model=WorkPool)
def read(name: str, database: Database) -> Response:
    """Return a work pool."""
    return answers.one(database.read(lambda connection: work_pools.read(connection, name)))


@router.patch("/{name}", operation_id="update_work_pool", status_code=status.HTTP_204_NO_CONTENT)
def update(name: str, body: WorkPoolUpdate, database: Database) -> None:
    """Change a work pool."""
    changes = changes_of(body)
    if _is_reserved(name) and changes.keys() - _CHANGEABLE:
        raise HTTPException(
            status.HTTP_403_FORBIDDEN,
            f"{name!r} is reserved: it can be paused and get a concurrency limit, and nothing else can be changed.",
        )
    # Null says nothing about what a pool cannot be without.
    for needed in ("is_paused", "base_job_template"):
        if changes.get(needed, "") is None:
            del changes[needed]
    database.change(lambda connection: work_pools.change(connection, name, changes, now=utcnow()))


@router.delete("/{name}", operation_id="delete_work_pool", status_code=status.HTTP_204_NO_CONTENT)
def delete(name: str, database: Database) -> None:
    """Delete a work pool with its queues and workers; its deployments stay, without a pool."""
    if _is_reserved(name):
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"{name!r} is reserved and cannot be deleted.")
    database.change(lambda connection: work_pools.delete(connection, name))


@router.post(
    "/{name}/get_scheduled_flow_runs",
    operation_id="get_scheduled_flow_runs",
    response_model=list[WorkerFlowRunResponse],
)
def hand_out(
    name: str,
    database: Database,
    limit: Limit,
    work_queue_names: Annotated[list[str] | None, Body()] = None,
    scheduled_before: Annotated[DateTime | None, Body()] = None,
    scheduled_after: Annotated[DateTime | None, Body()] = None,
) -> Response:
    """Return the runs that a worker of the pool does next, as far as limits and priorities let them go.

    A run belongs to the worker that then proposes PENDING first.
    """
    now = utcnow()
    window = handing_out.Window(before=scheduled_before, after=scheduled_after)

    def find(connection: Connection) -> tuple[list[WorkQueueResponse], list[WorkerFlowRunResponse]]:
        pool = work_pools.read(connection, name)
        queues = work_queues.of_pool(connection, pool.id)
        # Workers of Prefect 2 that serve all queues send an empty list.
        if work_queue_names:
            by_name = {queue.name: queue for queue in queues}
            queues = [by_name[wanted] for wanted in dict.fromkeys(work_queue_names) if wanted in by_name]
            # One that is not there is an error, as it would be for reading it.
            for wanted in set(work_queue_names) - set(by_name):
                work_queues.read_in(connection, name, wanted)
        found = handing_out.of_pool(connection, pool, queues, window, limit=limit)
        runs = answers_of(connection, (row for _, row in found), now)
        return queues, [
            WorkerFlowRunResponse.model_construct(work_pool_id=pool.id, work_queue_id=queue_id, flow_run=_bare(run))
            for (queue_id, _), run in zip(found, runs, strict=True)
        ]

    queues, handed = database.read(find)
    polled = [queue.id for queue in queues]
    database.change(lambda connection: work_queues.mark_polled(connection, polled, now=now))
    return answers.many(WorkerFlowRunResponse, handed)


@router.post(
    "/{work_pool_name}/queues",
    operation_id="create_work_queue",
    response_model=WorkQueueResponse,
    status_code=status.HTTP_201_CREATED,
)
def create_queue(work_pool_name: str, body: WorkQueueCreate, database: Database) -> Response:
    """Make a queue in a work pool."""

    def make(connection: Connection) -> WorkQueueResponse:
        pool = work_pools.read(connection, work_pool_name)
        return work_queues.create(connection, pool.id, body, now=utcnow())

    return answers.one(database.change(make), status.HTTP_201_CREATED)


@router.post("/{work_pool_name}/queues/filter", operation_id="read_work_queues", response_model=list[WorkQueueResponse])
def read_queues(
    work_pool_name: str,
    database: Database,
    page: PageOf,
    work_queues: Annotated[WorkQueueFilter | None, Body()] = None,
) -> Response:
    """Return queues of a work pool, the first to be served first."""
    found = database.read(lambda connection: _queues(connection, work_pool_name, work_queues, page))
    return answers.many(WorkQueueResponse, found)


@router.get("/{work_pool_name}/queues/{name}", operation_id="read_work_queue", response_model=WorkQueueResponse)
def read_queue(work_pool_name: str, name: str, database: Database) -> Response:
    """Return a queue of a work pool."""
    return answers.one(database.read(lambda connection: work_queues.read_in(connection, work_pool_name, name)))


@router.patch(
    "/{work_pool_name}/queues/{name}", operation_id="update_work_queue", status_code=status.HTTP_204_NO_CONTENT
)
def update_queue(work_pool_name: str, name: str, body: WorkQueueUpdate, database: Database) -> None:
    """Change a queue of a work pool."""
    changes = queue_changes(body)

    def change(connection: Connection) -> None:
        queue = work_queues.read_in(connection, work_pool_name, name)
        work_queues.change(connection, queue, changes, now=utcnow())

    database.change(change)


@router.delete(
    "/{work_pool_name}/queues/{name}", operation_id="delete_work_queue", status_code=status.HTTP_204_NO_CONTENT
)
def delete_queue(work_pool_name: str, name: str, database: Database) -> None:
    """Delete a queue of a work pool; its deployments stay, without a queue."""
    database.change(lambda connection: remove_queue(connection, work_queues.read_in(connection, work_pool_name, name)))


@router.post(
    "/{work_pool_name}/workers/heartbeat", operation_id="worker_heartbeat", status_code=status.HTTP_204_NO_CONTENT
)
def heartbeat(
    work_pool_name: str,
    name: Annotated[str, Body()],
    database: Database,
    heartbeat_interval_seconds: Annotated[WholeSeconds | None, Body()] = None,
) -> None:
    """Say that a worker is there."""
    now = utcnow()

    def note(connection: Connection) -> None:
        pool = work_pools.read(connection, work_pool_name)
        interval = heartbeat_interval_seconds
        workers.heartbeat(connection, database.dialect, pool.id, name, interval_seconds=interval, now=now)
        work_pools.mark_ready(connection, pool, now=now)

    database.change(note)


@router.post("/{work_pool_name}/workers/filter", operation_id="read_workers", response_model=list[WorkerResponse])
def read_workers(
    work_pool_name: str,
    database: Database,
    page: PageOf,
    workers: Annotated[WorkerFilter | None, Body()] = None,
) -> Response:
    """Return workers of a work pool, the one that was heard of last first."""
    found = database.read(lambda connection: _workers(connection, work_pool_name, workers, page))
    return answers.many(WorkerResponse, found)


@router.delete("/{work_pool_name}/workers/{name}", operation_id="delete_worker", status_code=status.HTTP_204_NO_CONTENT)
def delete_worker(work_pool_name: str, name: str, database: Database) -> None:
    """Delete a worker; it comes back with its next heartbeat."""
    database.change(lambda connection: workers.delete(connection, work_pools.read(connection, work_pool_name).id, name))


def queue_changes(body: WorkQueueUpdate) -> dict[str, Any]:
    """Return what an update changes of a queue; null says nothing about what a queue cannot be without."""
    changes = changes_of(body)
    if body.filter is not None and "filter" in changes:
        changes["filter"] = body.filter.model_dump(mode="json")
    return {name: value for name, value in changes.items() if value is not None or name not in ("name", "priority")}


def remove_queue(connection: Connection, queue: WorkQueueResponse) -> None:
    """Delete a queue, unless its pool needs it."""
    if work_queues.is_default(connection, queue.id):
        detail = f"{queue.name!r} is the default queue of its work pool and cannot be deleted; delete the pool instead."
        raise HTTPException(status.HTTP_409_CONFLICT, detail)
    work_queues.delete(connection, queue)


def _is_reserved(name: str) -> bool:
    return name.lower().startswith(_RESERVED)


def _bare(run: FlowRunResponse) -> FlowRun:
    return FlowRun.model_construct(**{name: getattr(run, name) for name in FlowRun.model_fields})


# The lists have their own functions because the names of their filters hide those of the modules.


def _pools(connection: Connection, where: WorkPoolFilter | None, page: Page) -> list[WorkPool]:
    return work_pools.read_many(connection, where, page)


def _count(connection: Connection, where: WorkPoolFilter | None) -> int:
    return work_pools.count(connection, where)


def _queues(
    connection: Connection, pool_name: str, where: WorkQueueFilter | None, page: Page
) -> list[WorkQueueResponse]:
    work_pools.read(connection, pool_name)
    return work_queues.read_many(connection, where, page, pool_name=pool_name)


def _workers(connection: Connection, pool_name: str, where: WorkerFilter | None, page: Page) -> list[WorkerResponse]:
    pool = work_pools.read(connection, pool_name)
    return workers.read_many(connection, pool.id, where, page)
