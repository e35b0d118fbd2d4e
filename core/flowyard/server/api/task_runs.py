"""Task runs: made, read, renamed, moved from state to state, deleted."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from anyio import to_thread
from fastapi import Body, HTTPException, Response, status

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.sorting import TaskRunSort
from flowyard.schemas.api.states import OrchestrationResult, StateCreate
from flowyard.schemas.api.task_runs import TaskRun, TaskRunCreate, TaskRunUpdate
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf
from flowyard.server.filters import TaskRunsFiltered
from flowyard.server.gateway import Gateway
from flowyard.server.proposals import proposed
from flowyard.server.received import state_of, task_run_of
from flowyard.server.routes import Routes
from flowyard.services import reported_runs
from flowyard.store import reported_task_runs, served_task_runs

router = Routes(prefix="/task_runs", tags=["Task Runs"])


@router.post("/", operation_id="create_task_run", response_model=TaskRun)
async def create(body: TaskRunCreate, database: Database) -> Response:
    """Make a task run, or find the one of the same flow run that has its keys."""
    _check_cache_key(database, body.cache_key)
    try:
        made, is_new = await database.change_soon(
            lambda connection: reported_runs.create_task_run(connection, task_run_of(body), state_of(body.state))
        )
    except ObjectNotFound as error:
        raise HTTPException(status.HTTP_409_CONFLICT, f"{error}") from error
    return await to_thread.run_sync(_found, database, made, is_new)


def _found(database: Gateway, made: UUID, is_new: bool) -> Response:
    now = utcnow()
    return answers.created(
        database.read(lambda connection: served_task_runs.read(connection, made, now=now)), is_new=is_new
    )


@router.patch("/{id}", operation_id="update_task_run", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: TaskRunUpdate, database: Database) -> None:
    """Give a task run another name."""
    name = body.name
    if name is None:
        now = utcnow()
        database.read(lambda connection: served_task_runs.read(connection, id, now=now))
        return
    database.change_plainly(lambda connection: reported_task_runs.rename(connection, id, name, utcnow()))


@router.post("/count", operation_id="count_task_runs")
def count(filters: TaskRunsFiltered, database: Database) -> int:
    """Count task runs."""
    return database.read(lambda connection: served_task_runs.count(connection, database.dialect, filters))


@router.get("/{id}", operation_id="read_task_run", response_model=TaskRun)
def read(id: UUID, database: Database) -> Response:
    """Return a task run."""
    now = utcnow()
    return answers.one(database.read(lambda connection: served_task_runs.read(connection, id, now=now)))


@router.post("/filter", operation_id="read_task_runs", response_model=list[TaskRun])
def read_many(
    filters: TaskRunsFiltered,
    database: Database,
    page: PageOf,
    sort: Annotated[TaskRunSort, Body()] = TaskRunSort.ID_DESC,
) -> Response:
    """Return task runs."""
    now = utcnow()
    found = database.read(
        lambda connection: served_task_runs.read_many(connection, database.dialect, filters, page, sort=sort, now=now)
    )
    return answers.written(found)


@router.delete("/{id}", operation_id="delete_task_run", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a task run with its states; its log lines stay with the flow run."""
    database.change(lambda connection: reported_task_runs.remove(connection, id))


@router.post("/{id}/set_state", operation_id="set_task_run_state", response_model=OrchestrationResult)
async def set_state(
    id: UUID,
    state: Annotated[StateCreate, Body()],
    database: Database,
    force: Annotated[bool, Body()] = False,
) -> Response:
    """Propose a state: what becomes of it is decided by the rules."""
    _check_cache_key(database, state.state_details.cache_key)
    wait = database.settings.FLOWYARD_TASK_RUN_TAG_CONCURRENCY_SLOT_WAIT_SECONDS
    return await proposed(
        database.change_soon(
            lambda connection: reported_runs.propose_task_run_state(
                connection, id, state_of(state), force=force, now=utcnow(), slot_wait_seconds=wait
            )
        )
    )


def _check_cache_key(database: Gateway, cache_key: str | None) -> None:
    most = database.settings.FLOWYARD_API_TASK_CACHE_KEY_MAX_LENGTH
    if cache_key is not None and len(cache_key) > most:
        detail = f"The cache key has {len(cache_key)} characters; at most {most} are allowed"
        raise HTTPException(status.HTTP_422_UNPROCESSABLE_CONTENT, detail)
