"""Rows of SQL text as Python values.

The name of a column says what it holds, in all the tables that are read this way; a test holds the tables to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from flowyard.schemas.wire_values import id_from_wire
from flowyard.store.encoding import from_json, from_microseconds

IDS = frozenset(
    {
        *("id", "flow_id", "flow_run_id", "task_run_id", "parent_task_run_id", "deployment_id", "state_id"),
        *("owner_id", "work_queue_id", "work_pool_id", "infrastructure_document_id", "lease_id", "limit_id"),
    }
)
TIMES = frozenset(
    {
        *("created", "updated", "timestamp", "state_timestamp", "expected_start_time", "next_scheduled_start_time"),
        *("start_time", "end_time", "cache_expiration", "acquired", "expires", "process_start_time", "decayed", "seen"),
    }
)
DURATIONS = frozenset({"total_run_time"})
DOCUMENTS = frozenset(
    {
        *("parameters", "context", "empirical_policy", "tags", "start_info", "state_details", "data", "task_inputs"),
        *("metrics", "created_by", "job_variables"),
    }
)
STATE_PREFIX = "state__"
"""Stands before the names of a state's columns where they are among those of its run."""


class Row(SimpleNamespace):
    """The values of a row, by the names of their columns."""


def read_rows(names: Iterable[str], rows: Iterable[Sequence[Any]], *, is_native: bool) -> list[Row]:
    """Return rows as Python values.

    Args:
        names: of the columns.
        rows: what the driver returned.
        is_native: the driver returns ids as UUIDs and JSON as what it says.
    """
    columns = [(name, _reader(name.removeprefix(STATE_PREFIX), is_native=is_native)) for name in names]
    return [
        Row(
            **{
                name: value if reader is None or value is None else reader(value)
                for (name, reader), value in zip(columns, row, strict=True)
            }
        )
        for row in rows
    ]


def _reader(name: str, *, is_native: bool) -> Callable[[Any], Any] | None:
    if name in TIMES:
        return from_microseconds
    if name in DURATIONS:
        return _duration
    if is_native:
        return None
    if name in IDS:
        return read_id
    return from_json if name in DOCUMENTS else None


def read_id(value: bytes | UUID) -> UUID:
    """Return an id as the column of either database has it."""
    return value if isinstance(value, UUID) else id_from_wire(value)


def _duration(microseconds: int) -> timedelta:
    return timedelta(microseconds=microseconds)
