"""The versions of the tables. An up-to-date database costs one query here; all else is in `schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowyard.store.plain import PlainConnection

if TYPE_CHECKING:
    from flowyard.store.database import Database

VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")
"""Every schema version there was, oldest first; the names of the migrations."""
CURRENT = VERSIONS[-1]
TABLE = "alembic_version"
"""Alembic's own table: it can be read without importing Alembic."""


def read_version(connection: PlainConnection) -> str | None:
    """Return the schema version of a database; None when it has no tables of ours."""
    if not connection.dialect.table_exists(connection, TABLE):
        return None
    return connection.value(f"SELECT version_num FROM {TABLE}")


def is_current(database: Database) -> bool:
    """Say whether the tables are those that this code needs."""
    with database.plain_reading() as connection:
        return read_version(connection) == CURRENT
