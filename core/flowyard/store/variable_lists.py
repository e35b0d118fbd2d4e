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
from flowyard.store.variables import record_of, variable

_ORDERS = {
    VariableSort.CREATED_DESC: variable.c.created.desc(),
    VariableSort.UPDATED_DESC: variable.c.updated.desc(),
    VariableSort.NAME_ASC: variable.c.name.asc(),
    VariableSort.NAME_DESC: variable.c.name.desc(),
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
    connection: Connection,
    dialect: Dialect,
    where: VariableFilter | None,
    *,
    sort: VariableSort,
    limit: int,
    offset: int,
) -> list[VariableRecord]:
    """Return the variables that a filter takes."""
    query = select(variable).order_by(_ORDERS[sort], variable.c.id).limit(limit).offset(offset)
    if where is not None:
        query = query.where(variable_condition(dialect, where))
    return [record_of(row) for row in connection.execute(query)]


def count(connection: Connection, dialect: Dialect, where: VariableFilter | None) -> int:
    """Count the variables that a filter takes."""
    query = select(func.count()).select_from(variable)
    if where is not None:
        query = query.where(variable_condition(dialect, where))
    return connection.execute(query).scalar_one()
