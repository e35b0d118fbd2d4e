"""Flows for the REST API: made, read with filters, changed and deleted. A flow that runs registers itself: `flows`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete as delete_from
from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.flows import Flow
from flowyard.schemas.api.sorting import FlowSort
from flowyard.schemas.ids import new_id
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.related import Filters, of_flows
from flowyard.store.ordering import Order, Page
from flowyard.store.tables import flow, flow_run

_ORDERS = {
    FlowSort.CREATED_DESC: Order(flow.c.created, is_descending=True),
    FlowSort.UPDATED_DESC: Order(flow.c.updated, is_descending=True),
    FlowSort.NAME_ASC: Order(flow.c.name),
    FlowSort.NAME_DESC: Order(flow.c.name, is_descending=True),
}


def register(connection: Connection, name: str, tags: Sequence[str], *, now: datetime) -> tuple[Flow, bool]:
    """Return the flow of a name, and whether it was made now."""
    row = connection.execute(select(flow).where(flow.c.name == name)).first()
    if row is not None:
        return _flow_of(row), False
    made = Flow(id=new_id(), name=name, tags=list(tags), created=now, updated=now)
    connection.execute(insert(flow).values(made.model_dump()))
    return made, True


def read(connection: Connection, flow_id: UUID) -> Flow:
    """Return a flow.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select(flow).where(flow.c.id == flow_id)).first()
    if row is None:
        raise ObjectNotFound("flow", flow_id)
    return _flow_of(row)


def read_by_name(connection: Connection, name: str) -> Flow:
    """Return the flow of a name.

    Raises:
        ObjectNotFound: there is none.
    """
    row = connection.execute(select(flow).where(flow.c.name == name)).first()
    if row is None:
        raise ObjectNotFound("flow", name)
    return _flow_of(row)


def read_many(connection: Connection, dialect: Dialect, filters: Filters, page: Page, *, sort: FlowSort) -> list[Flow]:
    """Return the flows that filters take; equal ones in the order of their ids, so that pages do not overlap.

    Raises:
        ObjectNotFound: there is no flow with which the page before ended.
    """
    query = select(flow).where(*of_flows(dialect, filters))
    return [_flow_of(row) for row in connection.execute(page.of(connection, query, _ORDERS[sort], flow.c.id, "flow"))]


def count(connection: Connection, dialect: Dialect, filters: Filters) -> int:
    """Count the flows that filters take."""
    return connection.execute(select(func.count()).select_from(flow).where(*of_flows(dialect, filters))).scalar_one()


def change(connection: Connection, flow_id: UUID, changes: dict[str, Any], *, now: datetime) -> None:
    """Change columns of a flow.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    done = connection.execute(update(flow).where(flow.c.id == flow_id).values(**changes, updated=now))
    if not done.rowcount:
        raise ObjectNotFound("flow", flow_id)


def some_runs_of(connection: Connection, flow_id: UUID, *, limit: int) -> Sequence[UUID]:
    """Return the ids of at most so many runs of a flow."""
    return connection.execute(select(flow_run.c.id).where(flow_run.c.flow_id == flow_id).limit(limit)).scalars().all()


def delete(connection: Connection, flow_id: UUID) -> None:
    """Delete a flow, which must have no runs and no deployments any more.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if not connection.execute(delete_from(flow).where(flow.c.id == flow_id)).rowcount:
        raise ObjectNotFound("flow", flow_id)


def _flow_of(row: Row[Any]) -> Flow:
    return Flow(id=row.id, created=row.created, updated=row.updated, name=row.name, tags=row.tags)
