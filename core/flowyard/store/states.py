"""States as rows, and rows as states."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from flowyard.schemas.recorded_result import RecordedResult
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.schemas.unknown_result import UnknownResult
from flowyard.store.bulk import insert_rows
from flowyard.store.encoding import to_json
from flowyard.store.plain import PlainConnection
from flowyard.store.rows import STATE_PREFIX, Row

if TYPE_CHECKING:
    from sqlalchemy.engine import Row as CoreRow

    AnyRow = Row | CoreRow[Any]


_UNKNOWN = UnknownResult().to_record()
_COLUMNS = ("id", "type", "name", "message", "timestamp", "state_details", "data")
STATE_COLUMNS = [(name, STATE_PREFIX + name) for name in _COLUMNS]
"""The columns of a state but its run's id, and their names where they are among those of the run."""


def result_record(data: Any) -> dict[str, Any] | None:
    """Return what is stored about a state's value; None for a plain value, which is never stored."""
    # The class is asked, not the value: a user's object may answer to any attribute.
    to_record: Any = getattr(cast("type[object]", data.__class__), "to_record", None)
    return None if to_record is None else to_record(data)


def result_of(record: Any) -> Any:
    """Return the handle for what `result_record` stored, or for what a client of the REST API sent instead."""
    if record is None:
        return None
    return UnknownResult() if record == _UNKNOWN else RecordedResult(record)


def insert_flow_run_state(connection: PlainConnection, flow_run_id: UUID, state: State[Any]) -> None:
    """Add a state to the history of a flow run."""
    connection.insert("flow_run_state", {"flow_run_id": flow_run_id, **_values(state)})


def insert_flow_run_states(connection: PlainConnection, entered: Iterable[tuple[UUID, State[Any]]]) -> None:
    """Add states to the histories of flow runs."""
    rows = [{"flow_run_id": flow_run_id, **_values(state)} for flow_run_id, state in entered]
    insert_rows(connection, "flow_run_state", rows)


def insert_task_run_state(connection: PlainConnection, task_run_id: UUID, state: State[Any]) -> None:
    """Add a state to the history of a task run."""
    connection.insert("task_run_state", {"task_run_id": task_run_id, **_values(state)})


def locked_runs(connection: PlainConnection, query: str, table: str, run_ids: Sequence[UUID]) -> list[Row]:
    """Return the rows of runs joined with their states, which nobody else can change until this transaction ends.

    Args:
        connection: to lock with.
        query: selects runs, up to `IN (ids)`.
        table: of the runs.
        run_ids: their ids.
    """
    row_lock = connection.dialect.row_lock
    # In the order of their ids: two who lock several wait for each other instead of for ever.
    rows = connection.rows_among(f"{query} ORDER BY {table}.id{row_lock and f'{row_lock} OF {table}'}", run_ids)
    if any(row.state_id is not None and row.state__id is None for row in rows):
        # PostgreSQL has waited for somebody else's transaction: it then shows a run as that one left it, but looks
        # for the state among those that were there before. The next statement sees both.
        rows = connection.rows_among(query, run_ids)
    return rows


class _StateColumns:
    """The columns of a state among those of its run, where they are labelled `state__...`."""

    __slots__ = ("data", "id", "message", "name", "state_details", "timestamp", "type")

    def __init__(self, row: AnyRow) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(row, STATE_PREFIX + name))


def current_state(row: AnyRow, *, flow_run_id: UUID | None, task_run_id: UUID | None = None) -> State[Any] | None:
    """Return the state in a row of a run joined with its state; None when the run has none."""
    if row.state__id is None:
        return None
    return state_of(cast("Row", _StateColumns(row)), flow_run_id=flow_run_id, task_run_id=task_run_id)


def state_of(row: AnyRow, *, flow_run_id: UUID | None, task_run_id: UUID | None = None) -> State[Any]:
    """Return the state in a row that has the columns of a state table."""
    details = StateDetails.from_record(row.state_details or {}, flow_run_id=flow_run_id, task_run_id=task_run_id)
    return State(StateType(row.type), row.name, row.message, result_of(row.data), details, row.timestamp, row.id)


def _values(state: State[Any]) -> dict[str, Any]:
    # As text: a client of the REST API may have sent a plain number or string.
    record = result_record(state.data)
    return {
        "id": state.id,
        "type": state.type.value,
        "name": state.name,
        "message": state.message,
        "timestamp": state.timestamp,
        "state_details": state.state_details.to_record() or None,
        "data": None if record is None else to_json(record),
    }
