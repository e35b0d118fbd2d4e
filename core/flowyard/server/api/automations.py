"""Automations: what they wait for and what they do, stored and returned."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, Response, status

from flowyard.schemas.api.automations import (
    Automation,
    AutomationCreate,
    AutomationFilter,
    AutomationPartialUpdate,
    AutomationUpdate,
)
from flowyard.schemas.api.sorting import AutomationSort
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf
from flowyard.server.routes import Routes
from flowyard.store import automations as store

router = Routes(prefix="/automations", tags=["Automations"])


@router.post("/", operation_id="create_automation", response_model=Automation, status_code=status.HTTP_201_CREATED)
def create(body: AutomationCreate, database: Database) -> Response:
    """Make an automation."""
    made = database.change(lambda connection: store.create(connection, body, now=utcnow()))
    return answers.one(made, status.HTTP_201_CREATED)


@router.post("/filter", operation_id="read_automations", response_model=list[Automation])
def read_many(
    database: Database,
    page: PageOf,
    automations: Annotated[AutomationFilter | None, Body()] = None,
    sort: Annotated[AutomationSort, Body()] = AutomationSort.NAME_ASC,
) -> Response:
    """Return automations."""
    found = database.read(lambda connection: store.read_many(connection, automations, page, sort=sort))
    return answers.many(Automation, found)


@router.post("/count", operation_id="count_automations")
def count(database: Database) -> int:
    """Count automations."""
    return database.read(store.count)


@router.get(
    "/related-to/{resource_id:path}",
    operation_id="read_automations_related_to_resource",
    response_model=list[Automation],
)
def read_related(resource_id: str, database: Database) -> Response:
    """Return the automations that name a resource or belong to it."""
    return answers.many(Automation, database.read(lambda connection: store.read_of_resource(connection, resource_id)))


@router.delete(
    "/owned-by/{resource_id:path}",
    operation_id="delete_automations_owned_by_resource",
    status_code=status.HTTP_202_ACCEPTED,
)
def delete_owned(resource_id: str, database: Database) -> None:
    """Delete the automations that belong to a resource."""
    database.change(lambda connection: store.remove_of_owner(connection, resource_id))


@router.get("/{id}", operation_id="read_automation", response_model=Automation)
def read(id: UUID, database: Database) -> Response:
    """Return an automation."""
    return answers.one(database.read(lambda connection: store.read(connection, id)))


@router.put("/{id}", operation_id="update_automation", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: AutomationUpdate, database: Database) -> None:
    """Change what an automation waits for and does."""
    database.change(lambda connection: store.replace(connection, id, body, now=utcnow()))


@router.patch("/{id}", operation_id="patch_automation", status_code=status.HTTP_204_NO_CONTENT)
def enable(id: UUID, body: AutomationPartialUpdate, database: Database) -> None:
    """Switch an automation on or off."""
    database.change(lambda connection: store.enable(connection, id, enabled=body.enabled, now=utcnow()))


@router.delete("/{id}", operation_id="delete_automation", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete an automation."""
    database.change(lambda connection: store.remove(connection, id))
