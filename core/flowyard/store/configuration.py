"""Facts about the database itself, by key."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Table, select
from sqlalchemy.engine import Connection

from flowyard.store.dialects import Dialect
from flowyard.store.tables import JSON, TEXT, metadata

configuration = Table(
    "configuration",
    metadata,
    Column("key", TEXT, primary_key=True),
    Column("value", JSON, nullable=False),
    sqlite_with_rowid=False,
)


def find(connection: Connection, key: str) -> Any:
    """Return the value of a key; None when there is none."""
    return connection.execute(select(configuration.c.value).where(configuration.c.key == key)).scalar()


def find_or_insert(connection: Connection, dialect: Dialect, key: str, value: Any) -> Any:
    """Return the value of a key, which is `value` if there was none."""
    connection.execute(dialect.insert(configuration).on_conflict_do_nothing(), {"key": key, "value": value})
    return find(connection, key)
