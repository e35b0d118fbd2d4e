"""Automations as they are stored: what they wait for and what they do, as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, Index, Table, delete, func, insert, select, update
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.automations import Automation, AutomationCore, AutomationCreate, AutomationFilter
from flowyard.schemas.api.sorting import AutomationSort
from flowyard.schemas.ids import new_id
from flowyard.store.filtering.conditions import Condition, combined, is_any, is_between
from flowyard.store.ordering import Order, Page
from flowyard.store.tables import ID, JSON, TEXT, TIME, metadata

automation = Table(
    "automation",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("trigger", JSON, nullable=False),
    Column("actions", JSON, nullable=False),
    Column("actions_on_trigger", JSON, nullable=False),
    Column("actions_on_resolve", JSON, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    sqlite_with_rowid=False,
)

automation_resource = Table(
    "automation_resource",
    metadata,
    Column("automation_id", ID, primary_key=True),
    Column("resource_id", TEXT, primary_key=True),
    # Whether the automation goes with the resource, or only names it.
    Column("is_owner", Boolean, primary_key=True),
    # The automations of a resource.
    Index("ix_automation_resource__resource_id", "resource_id"),
    sqlite_with_rowid=False,
)

_ORDERS = {
    AutomationSort.CREATED_DESC: Order(automation.c.created, is_descending=True),
    AutomationSort.UPDATED_DESC: Order(automation.c.updated, is_descending=True),
    AutomationSort.NAME_ASC: Order(automation.c.name),
    AutomationSort.NAME_DESC: Order(automation.c.name, is_descending=True),
}
_FIELDS = (*("name", "description", "enabled", "trigger", "actions", "actions_on_trigger", "actions_on_resolve"),)


def create(connection: Connection, body: AutomationCreate, *, now: datetime) -> Automation:
    """Store a new automation."""
    automation_id = new_id()
    values = {**_values(body), "id": automation_id, "created": now, "updated": now}
    connection.execute(insert(automation), values)
    _relate(connection, automation_id, body, owner=body.owner_resource)
    return read(connection, automation_id)


def read(connection: Connection, automation_id: UUID) -> Automation:
    """Return an automation.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select(automation).where(automation.c.id == automation_id)).first()
    if row is None:
        raise ObjectNotFound("automation", automation_id)
    return _automation_of(row)


def read_many(
    connection: Connection, where: AutomationFilter | None, page: Page, *, sort: AutomationSort
) -> list[Automation]:
    """Return the automations that a filter takes."""
    query = page.of(connection, select(automation), _ORDERS[sort], automation.c.id, "automation")
    if where is not None:
        query = query.where(combined(_conditions(where), where.operator))
    return [_automation_of(row) for row in connection.execute(query)]


def count(connection: Connection) -> int:
    """Count automations."""
    return connection.execute(select(func.count()).select_from(automation)).scalar_one()


def read_of_resource(connection: Connection, resource_id: str) -> list[Automation]:
    """Return the automations that name a resource or belong to it, in the order of their names."""
    ids = select(automation_resource.c.automation_id).where(automation_resource.c.resource_id == resource_id)
    query = select(automation).where(automation.c.id.in_(ids)).order_by(automation.c.name, automation.c.id)
    return [_automation_of(row) for row in connection.execute(query)]


def replace(connection: Connection, automation_id: UUID, body: AutomationCore, *, now: datetime) -> None:
    """Change what an automation waits for and does; whom it belongs to stays.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    _change(connection, automation_id, {**_values(body), "updated": now})
    connection.execute(
        delete(automation_resource).where(
            automation_resource.c.automation_id == automation_id, ~automation_resource.c.is_owner
        )
    )
    _relate(connection, automation_id, body)


def enable(connection: Connection, automation_id: UUID, *, enabled: bool, now: datetime) -> None:
    """Switch an automation on or off.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    _change(connection, automation_id, {"enabled": enabled, "updated": now})


def remove(connection: Connection, automation_id: UUID) -> None:
    """Delete an automation.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if not _remove(connection, [automation_id]):
        raise ObjectNotFound("automation", automation_id)


def remove_of_owner(connection: Connection, resource_id: str) -> int:
    """Delete the automations that belong to a resource, and return how many there were."""
    owned = select(automation_resource.c.automation_id).where(
        automation_resource.c.resource_id == resource_id, automation_resource.c.is_owner
    )
    return _remove(connection, list(connection.execute(owned).scalars()))


def _conditions(where: AutomationFilter) -> Iterable[Condition]:
    if where.name is not None:
        yield from is_any(automation.c.name, where.name.any_)
    if where.created is not None:
        yield from is_between(automation.c.created, before=where.created.before_, after=None)


def _remove(connection: Connection, ids: list[UUID]) -> int:
    connection.execute(delete(automation_resource).where(automation_resource.c.automation_id.in_(ids)))
    return connection.execute(delete(automation).where(automation.c.id.in_(ids))).rowcount


def _change(connection: Connection, automation_id: UUID, values: dict[str, Any]) -> None:
    if not connection.execute(update(automation).where(automation.c.id == automation_id).values(**values)).rowcount:
        raise ObjectNotFound("automation", automation_id)


def _relate(connection: Connection, automation_id: UUID, body: AutomationCore, *, owner: str | None = None) -> None:
    named = {(resource, False) for resource in body.named_resources()}
    rows = [
        {"automation_id": automation_id, "resource_id": resource, "is_owner": is_owner}
        for resource, is_owner in sorted(named | ({(owner, True)} if owner else set()))
    ]
    if rows:
        connection.execute(insert(automation_resource), rows)


def _values(body: AutomationCore) -> dict[str, Any]:
    return body.model_dump(mode="json", include=set(_FIELDS))


def _automation_of(row: Row[Any]) -> Automation:
    return Automation.model_validate({name: getattr(row, name) for name in ("id", *_FIELDS, "created", "updated")})
