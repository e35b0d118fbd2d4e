"""Counts of task runs by flow run, task and state, without counting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from flowyard.store.bulk import BulkInsert
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


class RollupWriter:
    """Adds to counts. A count that has come back to zero stays as a row; readers leave it out."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        statement = dialect.insert(rollup)
        statement = statement.on_conflict_do_update(
            index_elements=list(rollup.primary_key.columns), set_={"count": rollup.c.count + statement.excluded.count}
        )
        self._native_id_of = dialect.native_id_of
        self._insert = BulkInsert(rollup, statement, connection, dialect)

    def __call__(self, connection: Connection, deltas: Mapping[RollupKey, int]) -> None:
        """Add each delta to its count."""
        values: list[Any] = []
        # In one order everywhere, so that two transactions on PostgreSQL cannot wait for each other.
        for (run, task_name, state_name, state_type), delta in sorted(deltas.items()):
            if delta:
                values += (self._native_id_of(run), task_name, state_name, state_type, delta)
        if values:
            self._insert(connection, values)


def recount(connection: Connection, flow_run_id: UUID) -> dict[tuple[str, str], int]:
    """Return what `task_run_counts` must return, by counting; for tests and repairs."""
    query = (
        select(task_run.c.task_name, task_run.c.state_name, func.count().label("total"))
        .where(task_run.c.flow_run_id == flow_run_id, task_run.c.state_name.is_not(None))
        .group_by(task_run.c.task_name, task_run.c.state_name)
    )
    return {(row.task_name, row.state_name): row.total for row in connection.execute(query)}
