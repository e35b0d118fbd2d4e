"""Counts of task runs by flow run, task and state, without counting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.engine import Connection

from flowyard.store.dialects import Dialect
from flowyard.store.tables import rollup, task_run

RollupKey = tuple[int, str, str, str]
"""Flow run (the number of its id: a UUID's hash is slow), task name, state name, state type."""


def task_run_counts(connection: Connection, flow_run_id: UUID) -> dict[tuple[str, str], int]:
    """Return how many task runs of a flow run there are by (task name, state name)."""
    query = (
        select(rollup.c.task_name, rollup.c.state_name, func.sum(rollup.c.count).label("total"))
        .where(rollup.c.flow_run_id == flow_run_id)
        .group_by(rollup.c.task_name, rollup.c.state_name)
        .having(func.sum(rollup.c.count) != 0)
    )
    return {(row.task_name, row.state_name): int(row.total) for row in connection.execute(query)}


def change(connection: Connection, dialect: Dialect, deltas: Mapping[RollupKey, int]) -> None:
    """Add to counts; a count that falls to zero is removed."""
    # In one order everywhere, so that two transactions on PostgreSQL cannot wait for each other.
    values: list[dict[str, Any]] = [
        {"flow_run_id": UUID(int=run), "task_name": task, "state_name": name, "state_type": kind, "count": delta}
        for (run, task, name, kind), delta in sorted(deltas.items())
        if delta
    ]
    if not values:
        return
    statement = dialect.insert(rollup)
    statement = statement.on_conflict_do_update(
        index_elements=list(rollup.primary_key.columns), set_={"count": rollup.c.count + statement.excluded.count}
    )
    connection.execute(statement, values)
    emptied = {UUID(int=key[0]) for key, delta in deltas.items() if delta < 0}
    if emptied:
        connection.execute(delete(rollup).where(rollup.c.flow_run_id.in_(emptied), rollup.c.count == 0))


def recount(connection: Connection, flow_run_id: UUID) -> dict[tuple[str, str], int]:
    """Return what `task_run_counts` must return, by counting; for tests and repairs."""
    query = (
        select(task_run.c.task_name, task_run.c.state_name, func.count().label("total"))
        .where(task_run.c.flow_run_id == flow_run_id, task_run.c.state_name.is_not(None))
        .group_by(task_run.c.task_name, task_run.c.state_name)
    )
    return {(row.task_name, row.state_name): row.total for row in connection.execute(query)}
