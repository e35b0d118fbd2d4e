"""Flows: registered by name, listed, tagged, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated
from uuid import UUID

from fastapi import Body, Response, status
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.flows import Flow, FlowCreate, FlowUpdate
from flowyard.schemas.api.sorting import FlowSort
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf, changes_of
from flowyard.server.filters import FlowsFiltered
from flowyard.server.routes import Routes
from flowyard.store import deployments, registered_flows

router = Routes(prefix="/flows", tags=["Flows"])
_RUNS_AT_A_TIME = 200


@router.post("/", operation_id="create_flow", response_model=Flow)
def create(body: FlowCreate, database: Database) -> Response:
    """Register a flow by its name, or find the one that has it."""
    made, is_new = database.change(
        lambda connection: registered_flows.register(connection, body.name, body.tags, now=utcnow())
    )
    return answers.created(made, is_new=is_new)


@router.patch("/{id}", operation_id="update_flow", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: FlowUpdate, database: Database) -> None:
    """Change the tags of a flow."""
    changes = changes_of(body)
    database.change(lambda connection: registered_flows.change(connection, id, changes, now=utcnow()))


@router.post("/count", operation_id="count_flows")
def count(filters: FlowsFiltered, database: Database) -> int:
    """Count flows."""
    return database.read(lambda connection: registered_flows.count(connection, database.dialect, filters))


@router.get("/name/{name}", operation_id="read_flow_by_name", response_model=Flow)
def read_by_name(name: str, database: Database) -> Response:
    """Return the flow of a name."""
    return answers.one(database.read(lambda connection: registered_flows.read_by_name(connection, name)))


@router.get("/{id}", operation_id="read_flow", response_model=Flow)
def read(id: UUID, database: Database) -> Response:
    """Return a flow."""
    return answers.one(database.read(lambda connection: registered_flows.read(connection, id)))


@router.post("/filter", operation_id="read_flows", response_model=list[Flow])
def read_many(
    filters: FlowsFiltered,
    database: Database,
    page: PageOf,
    sort: Annotated[FlowSort, Body()] = FlowSort.NAME_ASC,
) -> Response:
    """Return flows."""
    found = database.read(
        lambda connection: registered_flows.read_many(connection, database.dialect, filters, page, sort=sort)
    )
    return answers.many(Flow, found)


@router.delete("/{id}", operation_id="delete_flow", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a flow with its deployments and with all that its runs recorded; their subflow runs stay."""
    database.read(lambda connection: registered_flows.read(connection, id))

    def some_runs(connection: Connection) -> Sequence[UUID]:
        return registered_flows.some_runs_of(connection, id, limit=_RUNS_AT_A_TIME)

    # The flow goes last: runs without one could be neither moved nor deleted.
    database.change(lambda connection: deployments.delete_of_flow(connection, id))
    while run_ids := database.read(some_runs):
        for run_id in run_ids:
            # Somebody else may delete it at the same time.
            with suppress(ObjectNotFound):
                database.control.delete_flow_run(run_id)
    database.change(lambda connection: registered_flows.delete(connection, id))
