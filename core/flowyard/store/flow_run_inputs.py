"""Rows of flow run inputs: what is sent to a flow run while it waits, by a key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table, UniqueConstraint, delete, insert, select
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.schemas.api.flow_runs import FlowRunInput
from flowyard.schemas.ids import new_id
from flowyard.store.tables import ID, TEXT, TIME, metadata

flow_run_input = Table(
    "flow_run_input",
    metadata,
    Column("id", ID, primary_key=True),
    Column("flow_run_id", ID, nullable=False),
    Column("key", TEXT, nullable=False),
    Column("value", TEXT, nullable=False),
    Column("sender", TEXT),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("flow_run_id", "key", name="uq_flow_run_input__flow_run_id_key"),
    sqlite_with_rowid=False,
)


def create(
    connection: Connection, flow_run_id: UUID, key: str, value: str, *, sender: str | None, now: datetime
) -> None:
    """Store an input of a flow run.

    Raises:
        ObjectAlreadyExists: the flow run has one of that key.
    """
    if connection.execute(select(flow_run_input.c.id).where(*_of(flow_run_id, key))).first() is not None:
        raise ObjectAlreadyExists("flow run input", key)
    values = {"id": new_id(), "flow_run_id": flow_run_id, "key": key, "value": value, "sender": sender}
    connection.execute(insert(flow_run_input), {**values, "created": now, "updated": now})


def read(connection: Connection, flow_run_id: UUID, key: str) -> FlowRunInput:
    """Return an input of a flow run.

    Raises:
        ObjectNotFound: the flow run has none of that key.
    """
    row = connection.execute(select(flow_run_input).where(*_of(flow_run_id, key))).first()
    if row is None:
        raise ObjectNotFound("flow run input", key)
    return _input_of(row)


def read_many(
    connection: Connection, flow_run_id: UUID, *, prefix: str, exclude: Sequence[str], limit: int
) -> list[FlowRunInput]:
    """Return inputs of a flow run whose keys begin so, oldest first."""
    query = select(flow_run_input).where(
        flow_run_input.c.flow_run_id == flow_run_id,
        flow_run_input.c.key.startswith(prefix, autoescape=True),
        flow_run_input.c.key.not_in(exclude),
    )
    return [_input_of(row) for row in connection.execute(query.order_by(flow_run_input.c.id).limit(limit))]


def remove(connection: Connection, flow_run_id: UUID, key: str) -> None:
    """Delete an input of a flow run.

    Raises:
        ObjectNotFound: the flow run has none of that key.
    """
    if not connection.execute(delete(flow_run_input).where(*_of(flow_run_id, key))).rowcount:
        raise ObjectNotFound("flow run input", key)


def remove_of_flow_run(connection: Connection, flow_run_id: UUID) -> None:
    """Delete all inputs of a flow run."""
    connection.execute(delete(flow_run_input).where(flow_run_input.c.flow_run_id == flow_run_id))


def _of(flow_run_id: UUID, key: str) -> Sequence[Any]:
    return (flow_run_input.c.flow_run_id == flow_run_id, flow_run_input.c.key == key)


def _input_of(row: Row[Any]) -> FlowRunInput:
    return FlowRunInput(
        id=row.id,
        created=row.created,
        updated=row.updated,
        flow_run_id=row.flow_run_id,
        key=row.key,
        value=row.value,
        sender=row.sender,
    )
