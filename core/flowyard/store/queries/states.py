"""Histories of states, read."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Table, select
from sqlalchemy.engine import Connection

from flowyard.schemas.states import State
from flowyard.store.states import state_of
from flowyard.store.tables import flow_run_state, task_run_state


def flow_run_states(connection: Connection, flow_run_id: UUID) -> list[State[Any]]:
    """Return the states of a flow run, oldest first."""
    rows = connection.execute(_history(flow_run_state, "flow_run_id", flow_run_id))
    return [state_of(row, flow_run_id=flow_run_id) for row in rows]


def task_run_states(connection: Connection, task_run_id: UUID, flow_run_id: UUID | None) -> list[State[Any]]:
    """Return the states of a task run, oldest first."""
    rows = connection.execute(_history(task_run_state, "task_run_id", task_run_id))
    return [state_of(row, flow_run_id=flow_run_id, task_run_id=task_run_id) for row in rows]


def _history(table: Table, owner: str, run_id: UUID) -> Any:
    # By time, not by id: a state that was made elsewhere may arrive with an id of another clock.
    return select(table).where(table.c[owner] == run_id).order_by(table.c.timestamp, table.c.id)
