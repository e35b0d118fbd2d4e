"""The task runs of one flow run, as a resume reads them: tens of thousands, in SQL text and with little thought a row.

About 25 microseconds a task run, where `task_runs.read_many` takes 60: the rows of one flow run have much in common.
`benchmarks resume` guards it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import FINAL_TYPES, State, StateDetails, StateType
from flowyard.store.encoding import from_json, from_microseconds
from flowyard.store.plain import PlainConnection
from flowyard.store.rows import read_id
from flowyard.store.states import result_of

_COLUMNS = (
    *("id", "parent_task_run_id", "task_key", "dynamic_key", "task_name", "task_version", "tags", "empirical_policy"),
    *("task_inputs", "created", "name", "cache_key", "cache_expiration", "flow_run_run_count", "run_count"),
    *("expected_start_time", "next_scheduled_start_time", "start_time", "end_time", "total_run_time", "updated"),
    "metrics",
)
_STATE_COLUMNS = ("id", "type", "name", "message", "timestamp", "state_details", "data")
_SELECT = f"""
SELECT {", ".join(f"run.{name}" for name in _COLUMNS)}, {", ".join(f"state.{name}" for name in _STATE_COLUMNS)}
FROM task_run AS run
LEFT JOIN task_run_state AS state ON state.task_run_id = run.id AND state.id = run.state_id
WHERE run.flow_run_id = ?"""
_NEWEST_FIRST = f"{_SELECT} ORDER BY run.id DESC LIMIT ? OFFSET ?"
_FINAL = ", ".join(f"'{kind.value}'" for kind in sorted(FINAL_TYPES))
_UNFINISHED = f"{_SELECT} AND (run.state_type IS NULL OR run.state_type NOT IN ({_FINAL})) ORDER BY run.id"
_CHANGED_BY_A_STATE = (
    *("run_count", "expected_start_time", "next_scheduled_start_time", "start_time", "end_time", "total_run_time"),
    "updated",
)
_NO_TIME = timedelta(0)
_STATE_TYPES = {kind.value: kind for kind in StateType}


def read_many(connection: PlainConnection, flow_run_id: UUID, *, limit: int, offset: int) -> list[TaskRun]:
    """Return the task runs of a flow run, newest first."""
    return _read(connection, flow_run_id, _NEWEST_FIRST, limit, offset)


def unfinished(connection: PlainConnection, flow_run_id: UUID) -> list[TaskRun]:
    """Return the task runs of a flow run that are not in a final state, oldest first."""
    return _read(connection, flow_run_id, _UNFINISHED)


def store_state(connection: PlainConnection, run: TaskRun) -> None:
    """Write what entering a state changed in a task run."""
    assert run.state is not None
    values = {
        "state_id": run.state.id,
        "state_type": run.state.type.value,
        "state_name": run.state.name,
        "state_timestamp": run.state.timestamp,
        **{name: getattr(run, name) for name in _CHANGED_BY_A_STATE},
    }
    connection.update("task_run", values, "id = ?", run.id)


def _read(connection: PlainConnection, flow_run_id: UUID, query: str, *more: int) -> list[TaskRun]:
    document: Callable[[Any], Any] = _as_it_is if connection.dialect.has_native_types else from_json
    policy: Callable[[Any], RetryPolicy] = (
        RetryPolicy.from_record if connection.dialect.has_native_types else _policy_of_text
    )
    rows = connection.execute(query, flow_run_id, *more)
    return [_task_run_of(row, flow_run_id, document, policy) for row in rows]


def _task_run_of(
    row: tuple[Any, ...],
    flow_run_id: UUID,
    document: Callable[[Any], Any],
    policy: Callable[[Any], RetryPolicy],
) -> TaskRun:
    # fmt: off
    (
        run_id, parent, task_key, dynamic_key, task_name, version, tags, empirical_policy, task_inputs, created, name,
        cache_key, cache_expiration, flow_run_run_count, run_count, expected, scheduled, start, end, total, updated,
        metrics, state_id, kind, state_name, message, timestamp, details, data,
    ) = row
    # fmt: on
    own_id = read_id(run_id)
    state: State[Any] | None = None
    if state_id is not None:
        state = State(
            _STATE_TYPES[kind],
            state_name,
            message,
            None if data is None else result_of(document(data)),
            StateDetails(flow_run_id, own_id)
            if details is None
            else StateDetails.from_record(document(details), flow_run_id=flow_run_id, task_run_id=own_id),
            from_microseconds(timestamp),
            read_id(state_id),
        )
    return TaskRun(
        task_key=task_key,
        dynamic_key=dynamic_key,
        name=name,
        task_name=task_name,
        flow_run_id=flow_run_id,
        parent_task_run_id=None if parent is None else read_id(parent),
        id=own_id,
        task_version=version,
        tags=() if tags == "[]" else tuple(document(tags)),
        policy=policy(empirical_policy),
        task_inputs={} if task_inputs == "{}" else document(task_inputs),
        cache_key=cache_key,
        cache_expiration=_moment(cache_expiration),
        flow_run_run_count=flow_run_run_count,
        state=state,
        run_count=run_count,
        expected_start_time=_moment(expected),
        next_scheduled_start_time=_moment(scheduled),
        start_time=_moment(start),
        end_time=_moment(end),
        total_run_time=timedelta(microseconds=total) if total else _NO_TIME,
        created=from_microseconds(created),
        updated=_moment(updated),
        metrics=None if metrics is None else TaskMetrics.from_record(document(metrics)),
    )


# Most of the times of a run are one and the same.
@lru_cache(64)
def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else from_microseconds(microseconds)


def _as_it_is(value: Any) -> Any:
    return value


@lru_cache(64)
def _policy_of_text(text: str) -> RetryPolicy:
    return RetryPolicy.from_record(from_json(text))
