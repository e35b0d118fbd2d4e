"""What is kept of task runs that clients report over the REST API, state by state, and of no others.

Clients of Prefect 2 make a task run by (flow run, task key, dynamic key) and find it again by the same; they cache
results by a key in the server. The engine needs neither, so the tables of the hot path have no index for it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Index, Table, delete, select, update
from sqlalchemy.engine import Connection

from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.rules.task_runs import CacheEntry
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State
from flowyard.store.plain import PlainConnection
from flowyard.store.rows import read_id
from flowyard.store.states import STATE_COLUMNS, locked_runs, state_of
from flowyard.store.tables import ID, TEXT, TIME, flow_run, metadata, rollup, task_run, task_run_state
from flowyard.store.task_runs import task_run_of

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


_COLUMNS = ", ".join(f"state.{name} AS {label}" for name, label in STATE_COLUMNS)
_LOCK = f"""
SELECT task_run.*, {_COLUMNS} FROM task_run
LEFT JOIN task_run_state AS state ON state.task_run_id = task_run.id AND state.id = task_run.state_id
WHERE task_run.id IN (ids)"""


def insert(connection: PlainConnection, run: TaskRun) -> None:
    """Store a new task run; its state goes to `states.insert_task_run_state`.

    Raises:
        ObjectAlreadyExists: there is one of that id.
    """
    if connection.value("SELECT 1 FROM task_run WHERE id = ?", run.id) is not None:
        raise ObjectAlreadyExists("task run", run.id)
    facts = {
        "id": run.id,
        "flow_run_id": run.flow_run_id,
        "parent_task_run_id": run.parent_task_run_id,
        "task_key": run.task_key,
        "dynamic_key": run.dynamic_key,
        "task_name": run.task_name,
        "task_version": run.task_version,
        "tags": list(run.tags),
        "empirical_policy": run.policy.to_record(),
        "task_inputs": run.task_inputs,
        "created": run.created,
        "name": run.name,
    }
    connection.insert("task_run", {**facts, **_changing(run)})


def lock(connection: PlainConnection, task_run_id: UUID) -> TaskRun:
    """Return a task run that nobody else can change until this transaction ends.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    rows = locked_runs(connection, _LOCK, "task_run", [task_run_id])
    if not rows:
        raise ObjectNotFound("task run", task_run_id)
    return task_run_of(rows[0])


def store(connection: PlainConnection, run: TaskRun) -> None:
    """Write what entering a state changes in a task run."""
    connection.update("task_run", _changing(run), "id = ?", run.id)


def rename(connection: PlainConnection, task_run_id: UUID, name: str, now: datetime) -> None:
    """Give a task run another name.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    if not connection.update("task_run", {"name": name, "updated": now}, "id = ?", task_run_id):
        raise ObjectNotFound("task run", task_run_id)


def _changing(run: TaskRun) -> dict[str, Any]:
    state = run.state
    return {
        "cache_key": run.cache_key,
        "cache_expiration": run.cache_expiration,
        "flow_run_run_count": run.flow_run_run_count,
        "state_id": state.id if state else None,
        "state_type": state.type.value if state else None,
        "state_name": state.name if state else None,
        "state_timestamp": state.timestamp if state else None,
        "run_count": run.run_count,
        "expected_start_time": run.expected_start_time,
        "next_scheduled_start_time": run.next_scheduled_start_time,
        "start_time": run.start_time,
        "end_time": run.end_time,
        "total_run_time": run.total_run_time,
        "updated": run.updated,
    }


def find(connection: PlainConnection, flow_run_id: UUID, task_key: str, dynamic_key: str) -> UUID | None:
    """Return the task run that a client has reported under these keys; None when there is none."""
    condition = "flow_run_id = ? AND task_key = ? AND dynamic_key = ?"
    found = connection.value(
        f"SELECT task_run_id FROM task_run_key WHERE {condition}", flow_run_id, task_key, dynamic_key
    )
    return None if found is None else read_id(found)


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


def remove(connection: Connection, task_run_id: UUID) -> None:
    """Delete a task run with its states and its keys; its log lines stay with the flow run.

    Raises:
        ObjectNotFound: there is none of that id.
    """
    row = connection.execute(select(task_run).where(task_run.c.id == task_run_id)).first()
    if row is None:
        raise ObjectNotFound("task run", task_run_id)
    connection.execute(delete(task_run_state).where(task_run_state.c.task_run_id == task_run_id))
    connection.execute(delete(task_run).where(task_run.c.id == task_run_id))
    connection.execute(
        update(flow_run).where(flow_run.c.parent_task_run_id == task_run_id).values(parent_task_run_id=None)
    )
    if row.flow_run_id is not None:
        connection.execute(
            delete(task_run_key).where(
                task_run_key.c.flow_run_id == row.flow_run_id,
                task_run_key.c.task_key == row.task_key,
                task_run_key.c.dynamic_key == row.dynamic_key,
            )
        )
        if row.state_type is not None:
            counted = {
                "flow_run_id": row.flow_run_id,
                "task_name": row.task_name,
                "state_name": row.state_name,
                "state_type": row.state_type,
            }
            connection.execute(
                update(rollup)
                .where(*[rollup.c[name] == value for name, value in counted.items()])
                .values(count=rollup.c["count"] - 1)
            )
