"""Counts of task runs by task and state, read."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from flowyard.store.tables import rollup, task_run


def task_run_counts(connection: Connection, flow_run_id: UUID) -> dict[tuple[str, str], int]:
    """Return how many task runs of a flow run there are by (task name, state name)."""
    query = (
        select(rollup.c.task_name, rollup.c.state_name, func.sum(rollup.c.count).label("total"))
        .where(rollup.c.flow_run_id == flow_run_id)
        .group_by(rollup.c.task_name, rollup.c.state_name)
        .having(func.sum(rollup.c.count) != 0)
    )
    return {(row.task_name, row.state_name): int(row.total) for row in connection.execute(query)}


def recount(connection: Connection, flow_run_id: UUID) -> dict[tuple[str, str], int]:
    """Return what `task_run_counts` must return, by counting; for tests and repairs."""
    query = (
        select(task_run.c.task_name, task_run.c.state_name, func.count().label("total"))
        .where(task_run.c.flow_run_id == flow_run_id, task_run.c.state_name.is_not(None))
        .group_by(task_run.c.task_name, task_run.c.state_name)
    )
    return {(row.task_name, row.state_name): row.total for row in connection.execute(query)}
