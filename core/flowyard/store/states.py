"""States as rows, and rows as states."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from sqlalchemy import Table, insert, select
from sqlalchemy.engine import Connection, Row

from flowyard.schemas.recorded_result import RecordedResult
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.schemas.unknown_result import UnknownResult
from flowyard.store.tables import flow_run_state, task_run_state


def result_record(data: Any) -> dict[str, Any] | None:
    """Return what is stored about a state's value; None for a plain value, which is never stored."""
    # The class is asked, not the value: a user's object may answer to any attribute.
    to_record: Any = getattr(cast("type[object]", data.__class__), "to_record", None)
    return None if to_record is None else to_record(data)


def result_of(record: dict[str, Any] | None) -> Any:
    """Return the handle for what `result_record` stored."""
    if record is None:
        return None
    return UnknownResult() if record.get("type") == "unknown" else RecordedResult(record)


def insert_flow_run_state(connection: Connection, flow_run_id: UUID, state: State[Any]) -> None:
    """Add a state to the history of a flow run."""
    values = {"flow_run_id": flow_run_id, **_values(state)}
    connection.execute(insert(flow_run_state), values)


def insert_task_run_states(connection: Connection, states: list[tuple[UUID, State[Any]]]) -> None:
    """Add states to the histories of task runs."""
    if states:
        values = [{"task_run_id": task_run_id, **_values(state)} for task_run_id, state in states]
        connection.execute(insert(task_run_state), values)


def flow_run_states(connection: Connection, flow_run_id: UUID) -> list[State[Any]]:
    """Return the states of a flow run, oldest first."""
    rows = connection.execute(_history(flow_run_state, "flow_run_id", flow_run_id))
    return [state_of(row, flow_run_id=flow_run_id) for row in rows]


def task_run_states(connection: Connection, task_run_id: UUID, flow_run_id: UUID | None) -> list[State[Any]]:
    """Return the states of a task run, oldest first."""
    rows = connection.execute(_history(task_run_state, "task_run_id", task_run_id))
    return [state_of(row, flow_run_id=flow_run_id, task_run_id=task_run_id) for row in rows]


class _StateColumns:
    """The columns of a state among those of its run, where they are labelled `state__...`."""

    __slots__ = ("data", "id", "message", "name", "state_details", "timestamp", "type")

    def __init__(self, row: Row[Any]) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(row, f"state__{name}"))


def current_state(row: Row[Any], *, flow_run_id: UUID | None, task_run_id: UUID | None = None) -> State[Any] | None:
    """Return the state in a row of a run joined with its state; None when the run has none."""
    if row.state__id is None:
        return None
    return state_of(cast("Row[Any]", _StateColumns(row)), flow_run_id=flow_run_id, task_run_id=task_run_id)


def state_of(row: Row[Any], *, flow_run_id: UUID | None, task_run_id: UUID | None = None) -> State[Any]:
    """Return the state in a row that has the columns of a state table."""
    details = StateDetails.from_record(row.state_details or {}, flow_run_id=flow_run_id, task_run_id=task_run_id)
    return State(StateType(row.type), row.name, row.message, result_of(row.data), details, row.timestamp, row.id)


def _history(table: Table, owner: str, run_id: UUID) -> Any:
    # By time, not by id: a state that was made elsewhere may arrive with an id of another clock.
    return select(table).where(table.c[owner] == run_id).order_by(table.c.timestamp, table.c.id)


def _values(state: State[Any]) -> dict[str, Any]:
    return {
        "id": state.id,
        "type": state.type.value,
        "name": state.name,
        "message": state.message,
        "timestamp": state.timestamp,
        "state_details": state.state_details.to_record() or None,
        "data": result_record(state.data),
    }
