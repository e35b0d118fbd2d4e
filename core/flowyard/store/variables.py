"""Rows of variables."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, Table, UniqueConstraint, delete, select, update
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.variables import VariableRecord
from flowyard.store.dialects import Dialect
from flowyard.store.tables import ID, JSON, TEXT, TIME, metadata

variable = Table(
    "variable",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("value", JSON),
    Column("tags", JSON, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("name", name="uq_variable__name"),
    sqlite_with_rowid=False,
)


def insert_variable(connection: Connection, dialect: Dialect, record: VariableRecord) -> bool:
    """Store a new variable; False when there is one of that name, which stays as it is."""
    statement = dialect.insert(variable).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
    return connection.execute(statement, _values(record)).rowcount > 0


def change(connection: Connection, name: str, values: dict[str, Any], now: datetime) -> VariableRecord:
    """Change columns of a variable and return it.

    Raises:
        ObjectNotFound: there is none of that name.
    """
    connection.execute(update(variable).where(variable.c.name == name).values(**values, updated=now))
    found = find(connection, values.get("name", name))
    if found is None:
        raise ObjectNotFound("variable", name)
    return found


def find(connection: Connection, name: str) -> VariableRecord | None:
    """Return a variable, or None."""
    row = connection.execute(select(variable).where(variable.c.name == name)).first()
    return None if row is None else record_of(row)


def read_many(connection: Connection, *, limit: int, offset: int) -> list[VariableRecord]:
    """Return variables in the order of their names."""
    rows = connection.execute(select(variable).order_by(variable.c.name).limit(limit).offset(offset))
    return [record_of(row) for row in rows]


def remove(connection: Connection, name: str) -> None:
    """Delete a variable.

    Raises:
        ObjectNotFound: there is none of that name.
    """
    if connection.execute(delete(variable).where(variable.c.name == name)).rowcount == 0:
        raise ObjectNotFound("variable", name)


def record_of(row: Row[Any]) -> VariableRecord:
    """Return the record of a row."""
    return VariableRecord(row.name, row.value, row.tags, row.id, row.created, row.updated)


def _values(record: VariableRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in VariableRecord.__slots__}
