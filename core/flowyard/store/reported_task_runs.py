"""What is kept of task runs that clients report over the REST API, state by state, and of no others.

Clients of Prefect 2 make a task run by (flow run, task key, dynamic key) and find it again by the same; they cache
results by a key in the server. The engine needs neither, so the tables of the hot path have no index for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Index, Table, delete, select
from sqlalchemy.engine import Connection

from flowyard.rules.task_runs import CacheEntry
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import State
from flowyard.store.plain import PlainConnection
from flowyard.store.states import state_of
from flowyard.store.tables import ID, TEXT, TIME, metadata, task_run

task_run_key = Table(
    "task_run_key",
    metadata,
    Column("flow_run_id", ID, primary_key=True),
    Column("task_key", TEXT, primary_key=True),
    Column("dynamic_key", TEXT, primary_key=True),
    Column("task_run_id", ID, nullable=False),
    sqlite_with_rowid=False,
)

task_run_state_cache = Table(
    "task_run_state_cache",
    metadata,
    Column("id", ID, primary_key=True),
    Column("cache_key", TEXT, nullable=False),
    Column("cache_expiration", TIME),
    Column("task_run_id", ID, nullable=False),
    Column("task_run_state_id", ID, nullable=False),
    Column("created", TIME, nullable=False),
    # The newest of a key.
    Index("ix_task_run_state_cache__cache_key", "cache_key", "id"),
    sqlite_with_rowid=False,
)

_CACHED = """
SELECT state.* FROM task_run_state_cache AS cache
JOIN task_run_state AS state ON state.task_run_id = cache.task_run_id AND state.id = cache.task_run_state_id
WHERE cache.cache_key = ? AND (cache.cache_expiration IS NULL OR cache.cache_expiration > ?)
ORDER BY cache.id DESC LIMIT 1"""


def find(connection: PlainConnection, flow_run_id: UUID, task_key: str, dynamic_key: str) -> UUID | None:
    """Return the task run that a client has reported under these keys; None when there is none."""
    condition = "flow_run_id = ? AND task_key = ? AND dynamic_key = ?"
    found = connection.value(
        f"SELECT task_run_id FROM task_run_key WHERE {condition}", flow_run_id, task_key, dynamic_key
    )
    if found is None or isinstance(found, UUID):
        return found
    return UUID(bytes=found)


def claim(connection: PlainConnection, flow_run_id: UUID, task_key: str, dynamic_key: str, task_run_id: UUID) -> bool:
    """Give a task run these keys; False when another one has them."""
    done = connection.execute(
        "INSERT INTO task_run_key (flow_run_id, task_key, dynamic_key, task_run_id) VALUES (?, ?, ?, ?) "
        "ON CONFLICT DO NOTHING",
        *(flow_run_id, task_key, dynamic_key, task_run_id),
    )
    return done.rowcount > 0


def cached_state(connection: PlainConnection, cache_key: str, now: datetime) -> State[Any] | None:
    """Return the newest Completed state that was stored under a cache key and has not expired."""
    rows = connection.rows(_CACHED, cache_key, now)
    return state_of(rows[0], flow_run_id=None, task_run_id=rows[0].task_run_id) if rows else None


def store_cached(connection: PlainConnection, entry: CacheEntry, task_run_id: UUID, now: datetime) -> None:
    """Let later runs find a Completed state by its cache key."""
    values = {
        "id": new_id(),
        "cache_key": entry.cache_key,
        "cache_expiration": entry.expiration,
        "task_run_id": task_run_id,
        "task_run_state_id": entry.state_id,
        "created": now,
    }
    connection.insert("task_run_state_cache", values)


def remove_of_flow_run(connection: Connection, flow_run_id: UUID) -> None:
    """Delete the keys of a flow run's task runs; what they cached goes with its state when it is looked for."""
    connection.execute(delete(task_run_key).where(task_run_key.c.flow_run_id == flow_run_id))


def remove_of_task_run(connection: Connection, task_run_id: UUID) -> None:
    """Delete the keys of a task run."""
    run = select(task_run.c.flow_run_id, task_run.c.task_key, task_run.c.dynamic_key).where(
        task_run.c.id == task_run_id
    )
    found = connection.execute(run).first()
    if found is not None and found.flow_run_id is not None:
        connection.execute(
            delete(task_run_key).where(
                task_run_key.c.flow_run_id == found.flow_run_id,
                task_run_key.c.task_key == found.task_key,
                task_run_key.c.dynamic_key == found.dynamic_key,
            )
        )
