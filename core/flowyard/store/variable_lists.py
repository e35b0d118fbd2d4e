"""Variables for the REST API: found by id, and listed with filters."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.sorting import VariableSort
from flowyard.schemas.api.variables import VariableFilter
from flowyard.schemas.variables import VariableRecord
from flowyard.store.dialects import Dialect
from flowyard.store.filtering.variables import variable_condition
from flowyard.store.ordering import Order, Page
from flowyard.store.variables import record_of, variable

_ORDERS = {
    VariableSort.CREATED_DESC: Order(variable.c.created, is_descending=True),
    VariableSort.UPDATED_DESC: Order(variable.c.updated, is_descending=True),
    VariableSort.NAME_ASC: Order(variable.c.name),
    VariableSort.NAME_DESC: Order(variable.c.name, is_descending=True),
}


def read(connection: Connection, variable_id: UUID) -> VariableRecord:
    """Return a variable.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select(variable).where(variable.c.id == variable_id)).first()
    if row is None:
        raise ObjectNotFound("variable", variable_id)
    return record_of(row)


def read_many(
    connection: Connection, dialect: Dialect, where: VariableFilter | None, page: Page, *, sort: VariableSort
) -> list[VariableRecord]:
    """Return the variables that a filter takes."""
    query = page.of(connection, select(variable), _ORDERS[sort], variable.c.id, "variable")
    if where is not None:
        query = query.where(variable_condition(dialect, where))
    return [record_of(row) for row in connection.execute(query)]


def count(connection: Connection, dialect: Dialect, where: VariableFilter | None) -> int:
    """Count the variables that a filter takes."""
    query = select(func.count()).select_from(variable)
    if where is not None:
        query = query.where(variable_condition(dialect, where))
    return connection.execute(query).scalar_one()
