"""Rows of API keys. The keys themselves are not stored: whoever reads the database cannot use them."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Column, LargeBinary, Table, UniqueConstraint, insert, select, update
from sqlalchemy.engine import Connection, Row

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.schemas.keys import ApiKey, Scope
from flowyard.store.tables import ID, TEXT, TIME, metadata

api_key = Table(
    "api_key",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", TEXT, nullable=False),
    Column("scope", TEXT, nullable=False),
    # Each request looks its key up by this.
    Column("prefix", TEXT, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created", TIME, nullable=False),
    Column("expires", TIME),
    Column("revoked", TIME),
    UniqueConstraint("prefix", name="uq_api_key__prefix"),
    UniqueConstraint("name", name="uq_api_key__name"),
    sqlite_with_rowid=False,
)


def insert_key(connection: Connection, key: ApiKey) -> None:
    """Store a new key.

    Raises:
        ObjectAlreadyExists: there is one of that name.
    """
    if connection.execute(select(api_key.c.id).where(api_key.c.name == key.name)).first() is not None:
        raise ObjectAlreadyExists("API key", key.name)
    connection.execute(insert(api_key).values({**asdict(key), "scope": key.scope.value}))


def find(connection: Connection, prefix: str) -> ApiKey | None:
    """Return the key that begins with `prefix`, revoked or not; None when there is none."""
    row = connection.execute(select(api_key).where(api_key.c.prefix == prefix)).first()
    return None if row is None else _key_of(row)


def read_many(connection: Connection) -> list[ApiKey]:
    """Return every key, oldest first."""
    return [_key_of(row) for row in connection.execute(select(api_key).order_by(api_key.c.id))]


def revoke(connection: Connection, name: str, *, now: datetime) -> None:
    """Make a key useless, for good; a second time changes nothing.

    Raises:
        ObjectNotFound: there is none of that name.
    """
    if connection.execute(select(api_key.c.id).where(api_key.c.name == name)).first() is None:
        raise ObjectNotFound("API key", name)
    is_used = (api_key.c.name == name) & api_key.c.revoked.is_(None)
    connection.execute(update(api_key).where(is_used).values(revoked=now))


def _key_of(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        scope=Scope(row.scope),
        prefix=row.prefix,
        digest=row.digest,
        created=row.created,
        expires=row.expires,
        revoked=row.revoked,
    )
