"""Counts of task runs by flow run, task and state, kept without counting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowyard.store.bulk import BulkInsert
from flowyard.store.dialects import Dialect
from flowyard.store.plain import PlainConnection

RollupKey = tuple[int, str, str, str]
"""Flow run (the number of its id: a UUID's hash is slow), task name, state name, state type."""
_KEY = ("flow_run_id", "task_name", "state_name", "state_type")


class RollupWriter:
    """Adds to counts. A count that has come back to zero stays as a row; readers leave it out."""

    def __init__(self, dialect: Dialect) -> None:
        add = f"({', '.join(_KEY)}) DO UPDATE SET count = rollup.count + excluded.count"
        self._native_id_of = dialect.native_id_of
        self._insert = BulkInsert(dialect, "rollup", (*_KEY, "count"), conflict=add)

    def __call__(self, connection: PlainConnection, deltas: Mapping[RollupKey, int]) -> None:
        """Add each delta to its count."""
        values: list[Any] = []
        # In one order everywhere, so that two transactions on PostgreSQL cannot wait for each other.
        for (run, task_name, state_name, state_type), delta in sorted(deltas.items()):
            if delta:
                values += (self._native_id_of(run), task_name, state_name, state_type, delta)
        if values:
            self._insert(connection, values)
