"""SQLAlchemy as a guest on a connection that is not its own. Loaded by name."""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool


def attach(engine: Engine, driver: Any) -> Connection:
    """Return a connection that executes on `driver`, inside of whatever transaction is there.

    Args:
        engine: one that has connected before, which tells its dialect about the database.
        driver: the driver's connection.
    """
    # A pool that hooks nothing and an engine that listens to nothing: nothing is begun, reset or rolled back by itself.
    pool = StaticPool(lambda: driver, reset_on_return=None)
    connection = Engine(pool, engine.dialect, engine.url, echo=bool(engine.echo), hide_parameters=True).connect()
    # As far as SQLAlchemy knows this transaction never ends, so that nobody begins another one. To the drivers it means
    # nothing: `sqlite3` is told when to begin, and psycopg begins with the first statement.
    connection.begin()
    return connection
