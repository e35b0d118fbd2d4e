"""Policies that say which flow runs somebody wants to hear about."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, Table, delete, insert, select, update
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.notifications import (
    FlowRunNotificationPolicy,
    FlowRunNotificationPolicyCreate,
    FlowRunNotificationPolicyFilter,
)
from flowyard.schemas.ids import new_id
from flowyard.store.block_documents import block_document
from flowyard.store.ordering import Order, Page
from flowyard.store.tables import ID, JSON, TEXT, TIME, metadata

flow_run_notification_policy = Table(
    "flow_run_notification_policy",
    metadata,
    Column("id", ID, primary_key=True),
    Column("is_active", Boolean, nullable=False),
    # Empty: any state, whatever tags.
    Column("state_names", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("block_document_id", ID, nullable=False),
    Column("message_template", TEXT),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    sqlite_with_rowid=False,
)
_table = flow_run_notification_policy


def create(
    connection: Connection, body: FlowRunNotificationPolicyCreate, *, now: datetime
) -> FlowRunNotificationPolicy:
    """Store a new policy.

    Raises:
        ObjectNotFound: there is no such block document.
    """
    _require_block(connection, body.block_document_id)
    values: dict[str, Any] = {**body.model_dump(), "id": new_id(), "created": now, "updated": now}
    connection.execute(insert(_table), values)
    return FlowRunNotificationPolicy(**values)


def read(connection: Connection, policy_id: UUID) -> FlowRunNotificationPolicy:
    """Return a policy.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select(_table).where(_table.c.id == policy_id)).first()
    if row is None:
        raise ObjectNotFound("flow run notification policy", policy_id)
    return _policy_of(row)


def read_many(
    connection: Connection, where: FlowRunNotificationPolicyFilter | None, page: Page
) -> list[FlowRunNotificationPolicy]:
    """Return policies, oldest first."""
    query = page.of(connection, select(_table), Order(_table.c.id), _table.c.id, "flow run notification policy")
    if where is not None and where.is_active is not None and where.is_active.eq_ is not None:
        query = query.where(_table.c.is_active == where.is_active.eq_)
    return [_policy_of(row) for row in connection.execute(query)]


def change(connection: Connection, policy_id: UUID, changes: dict[str, Any], *, now: datetime) -> None:
    """Change columns of a policy.

    Raises:
        ObjectNotFound: there is none of that id, or no such block document.
    """
    if "block_document_id" in changes:
        _require_block(connection, changes["block_document_id"])
    done = connection.execute(update(_table).where(_table.c.id == policy_id).values(**changes, updated=now))
    if not done.rowcount:
        raise ObjectNotFound("flow run notification policy", policy_id)


def remove(connection: Connection, policy_id: UUID) -> None:
    """Delete a policy.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if not connection.execute(delete(_table).where(_table.c.id == policy_id)).rowcount:
        raise ObjectNotFound("flow run notification policy", policy_id)


def _require_block(connection: Connection, document_id: UUID) -> None:
    if connection.execute(select(block_document.c.id).where(block_document.c.id == document_id)).first() is None:
        raise ObjectNotFound("block document", document_id)


def _policy_of(row: Row[Any]) -> FlowRunNotificationPolicy:
    return FlowRunNotificationPolicy(**{column.name: getattr(row, column.name) for column in _table.c})
