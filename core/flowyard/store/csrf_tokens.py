"""Tokens that a client has to send with what it changes: a page of somebody else in the same browser has none."""

from __future__ import annotations

import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy import Column, Table, UniqueConstraint, delete, select
from sqlalchemy.engine import Connection

from flowyard.schemas.api.csrf import CsrfToken
from flowyard.schemas.ids import new_id
from flowyard.store.dialects import Dialect
from flowyard.store.tables import ID, TEXT, TIME, metadata

csrf_token = Table(
    "csrf_token",
    metadata,
    Column("id", ID, primary_key=True),
    Column("token", TEXT, nullable=False),
    Column("client", TEXT, nullable=False),
    Column("expiration", TIME, nullable=False),
    Column("created", TIME, nullable=False),
    Column("updated", TIME, nullable=False),
    UniqueConstraint("client", name="uq_csrf_token__client"),
    sqlite_with_rowid=False,
)


def renew(connection: Connection, dialect: Dialect, client: str, *, lifetime: timedelta, now: datetime) -> CsrfToken:
    """Make a new token for a client, in the place of the one it has; tokens that are over go."""
    connection.execute(delete(csrf_token).where(csrf_token.c.expiration < now))
    made = CsrfToken(
        id=new_id(), created=now, updated=now, token=secrets.token_hex(32), client=client, expiration=now + lifetime
    )
    statement = dialect.insert(csrf_token)
    changed = {name: statement.excluded[name] for name in ("token", "expiration", "updated")}
    upsert = statement.on_conflict_do_update(index_elements=["client"], set_=changed)
    connection.execute(upsert, made.model_dump())
    row = connection.execute(select(csrf_token).where(csrf_token.c.client == client)).one()
    return CsrfToken(**{column.name: getattr(row, column.name) for column in csrf_token.c})


def is_good(connection: Connection, client: str, token: str, *, now: datetime) -> bool:
    """Say whether a token is that of a client, and not over."""
    query = select(csrf_token.c.token).where(csrf_token.c.client == client, csrf_token.c.expiration >= now)
    there = connection.execute(query).scalar()
    return there is not None and hmac.compare_digest(there.encode(), token.encode())
