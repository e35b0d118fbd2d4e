"""The URLs of databases, as SQLAlchemy reads them. Loaded by name, for those that are not simply the path of a file."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from flowyard.exceptions import BackendUnavailable
from flowyard.store.dialects import Dialect, SQLite
from flowyard.store.postgresql import PostgreSQL

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}


def normalize_url(url: str) -> URL:
    """Return the SQLAlchemy URL of a database, for the synchronous drivers that Flowyard uses.

    URLs written for Prefect (`sqlite+aiosqlite`, `postgresql+asyncpg`) are taken too.

    Raises:
        BackendUnavailable: it is not the URL of a SQLite or PostgreSQL database.
    """
    advice = (
        "set FLOWYARD_API_DATABASE_CONNECTION_URL to something like 'sqlite:////home/me/flowyard.db' or "
        "'postgresql://user@host/database'"
    )
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise BackendUnavailable(url, f"this is not a database URL ({error})", advice) from error
    backend = parsed.drivername.partition("+")[0]
    if backend not in _DRIVERS:
        where = parsed.render_as_string(hide_password=True)
        raise BackendUnavailable(where, f"{backend!r} is neither 'sqlite' nor 'postgresql'", advice)
    return parsed.set(drivername=_DRIVERS[backend])


def dialect_of(url: str, *, connect_timeout: float | None, echo: bool) -> Dialect:
    """Return how to speak to the database that any URL names."""
    parsed = normalize_url(url)
    if parsed.get_backend_name() == "postgresql":
        return PostgreSQL(parsed, connect_timeout=connect_timeout, echo=echo)
    arguments, options = pysqlite.dialect().create_connect_args(parsed)
    where = parsed.render_as_string(hide_password=True)
    return SQLite(arguments[0], file=_file_of(parsed), where=where, options=options, echo=echo)


def _file_of(url: URL) -> Path | None:
    database = url.database
    if not database or database == ":memory:" or "mode=memory" in url.render_as_string():
        return None
    return Path(database.removeprefix("file:")).absolute()
