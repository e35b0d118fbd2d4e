"""Turns the events of the journal into rows of task runs, states, logs and rollups.

What happened to a task run within one batch is collapsed: one row for the task run, one for each state. The rows of
unfinished task runs stay in memory between batches, so that nothing is read on the usual way; rows that are not known
(a retry in another process, after a failed commit) are read in one query. About 13 microseconds a task run with three
states; benchmarks/journal_floor.py guards it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.engine import Connection

from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import JournalEvent, LogEmitted, TaskRunCreated, TaskRunEntered, TaskRunRenamed
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import FINAL_TYPES, NO_DETAILS, State, StateType
from flowyard.store import rollups
from flowyard.store.bulk import BulkInsert
from flowyard.store.dialects import Dialect
from flowyard.store.logs import NO_FLOW_RUN, LogIds
from flowyard.store.states import result_record
from flowyard.store.tables import log, task_run, task_run_state
from flowyard.store.types import duration_to_microseconds, storable_text, to_json, to_microseconds

_logger = logging.getLogger("flowyard.journal")
_NO_TIME = timedelta(0)
_RUNNING = StateType.RUNNING
# The columns that the upsert changes in a row that exists; the others are facts about the call.
_CHANGING = (
    "name",
    "cache_key",
    "cache_expiration",
    "flow_run_run_count",
    "state_id",
    "state_type",
    "state_name",
    "state_timestamp",
    "run_count",
    "expected_start_time",
    "next_scheduled_start_time",
    "start_time",
    "end_time",
    "total_run_time",
    "updated",
)
_IDS_IN_A_QUERY = 500
# About 20 MB. A run of more tasks than that at once reads the others again, in one query a batch.
_MAX_ROWS = 20_000


class _Row:
    """A task run on its way into the database; what `rules.bookkeeping.enter_state` works on."""

    __slots__ = (
        "cache_expiration",
        "cache_key",
        "counted",
        "end_time",
        "expected_start_time",
        "facts",
        "flow_run_id",
        "flow_run_run_count",
        "is_touched",
        "name",
        "native_id",
        "next_scheduled_start_time",
        "plain_details",
        "run_count",
        "start_time",
        "state",
        "task_name",
        "total_run_time",
        "updated",
    )

    def __init__(
        self, native_id: Any, flow_run_id: UUID | None, task_name: str, name: str, facts: tuple[Any, ...]
    ) -> None:
        self.native_id = native_id
        self.flow_run_id = flow_run_id
        self.task_name = task_name
        self.name = name
        self.facts = facts
        """The columns that never change, in the order of the table."""
        self.counted: tuple[str, str] | None = None
        """Name and type of the state under which the rollup counts this run."""
        self.is_touched = False
        self.plain_details: Any = NO_DETAILS
        """A `StateDetails` that is known to say nothing of its own: the states of a run share it."""
        self.cache_key: str | None = None
        self.cache_expiration: datetime | None = None
        self.flow_run_run_count = 0
        self.state: State[Any] | None = None
        self.run_count = 0
        self.expected_start_time: datetime | None = None
        self.next_scheduled_start_time: datetime | None = None
        self.start_time: datetime | None = None
        self.end_time: datetime | None = None
        self.total_run_time = _NO_TIME
        self.updated: datetime | None = None


class Projection:
    """The journal's view of the task runs it writes about. Used by one thread."""

    def __init__(self, dialect: Dialect, connection: Connection) -> None:
        self._dialect = dialect
        self._native_id = dialect.native_id
        self._rows: dict[UUID, _Row] = {}
        self._written: list[tuple[UUID, _Row]] = []
        self._flow_run_counts: dict[UUID, int] = {}
        self._log_id = LogIds()
        self._tags: dict[tuple[str, ...], str] = {(): "[]"}
        self._policies: dict[RetryPolicy, str] = {}
        upsert = dialect.insert(task_run)
        upsert = upsert.on_conflict_do_update(
            index_elements=[task_run.c.id], set_={name: upsert.excluded[name] for name in _CHANGING}
        )
        self._write_task_runs = BulkInsert(task_run, upsert, connection, dialect)
        self._write_states = BulkInsert(
            task_run_state, dialect.insert(task_run_state).on_conflict_do_nothing(), connection, dialect
        )
        self._write_logs = BulkInsert(log, dialect.insert(log).on_conflict_do_nothing(), connection, dialect)

    def __len__(self) -> int:
        return len(self._rows)

    def apply(self, connection: Connection, events: Sequence[JournalEvent]) -> None:
        """Write what the events say. When the transaction fails, call `forget_all`; when it commits, `settle`."""
        rows = self._rows
        touched: list[tuple[UUID, _Row]] = []
        states: list[Any] = []
        logs: list[Any] = []
        for index, event in enumerate(events):
            kind = event.__class__
            if kind is LogEmitted:
                self._add_log(logs, event)  # pyright: ignore[reportArgumentType]  `kind` says so
                continue
            if kind is TaskRunCreated:
                run: TaskRun = event.task_run  # pyright: ignore[reportAttributeAccessIssue]
                key = run.id
                row = rows.get(key)
                if row is None:
                    row = rows[key] = self._new_row(run)
            else:
                key: UUID = event.task_run_id  # pyright: ignore[reportAttributeAccessIssue]
                row = rows.get(key)
                if row is None:
                    self._load(connection, events[index:])
                    row = rows.get(key)
                    if row is None:
                        _logger.error("dropped %r: there is no such task run; was it deleted?", event)
                        continue
                if kind is TaskRunEntered:
                    self._enter(row, event.state, states)  # pyright: ignore[reportAttributeAccessIssue]
                else:
                    assert isinstance(event, TaskRunRenamed)
                    row.name = storable_text(event.name)
            if not row.is_touched:
                row.is_touched = True
                touched.append((key, row))
        if touched:
            self._written += touched
            self._write(connection, [row for _, row in touched], states)
        if logs:
            self._write_logs(connection, logs)

    def settle(self) -> None:
        """Drop the rows of task runs that have ended: what is in memory is committed."""
        # A retry of the flow run brings an ended task run back; it is read again then.
        rows = self._rows
        for key, row in self._written:
            if row.state is not None and row.state.type in FINAL_TYPES:
                rows.pop(key, None)
        self._written.clear()
        # The newest first: the oldest are the next to be executed.
        while len(rows) > _MAX_ROWS:
            rows.popitem()

    def forget_all(self) -> None:
        """Drop what is in memory, so that it is read again: it may not be what is in the database."""
        self._rows.clear()
        self._written.clear()

    def forget(self, flow_run_ids: Collection[UUID]) -> None:
        """Drop what is in memory about some flow runs, whose task runs were changed by other means."""
        gone = [key for key, row in self._rows.items() if row.flow_run_id in flow_run_ids]
        for key in gone:
            del self._rows[key]
        for flow_run_id in flow_run_ids:
            self._flow_run_counts.pop(flow_run_id, None)

    def note_run_count(self, flow_run_id: UUID, run_count: int) -> None:
        """Say which attempt of a flow run the task runs that start from now on belong to."""
        self._flow_run_counts[flow_run_id] = run_count

    # --- events -----------------------------------------------------------------------------------------

    def _new_row(self, run: TaskRun) -> _Row:
        native = self._native_id
        flow_run_id = run.flow_run_id
        parent_id = run.parent_task_run_id
        native_id = native(run.id)
        task_name = storable_text(run.task_name)
        version = run.task_version
        facts = (
            native_id,
            None if flow_run_id is None else native(flow_run_id),
            None if parent_id is None else native(parent_id),
            storable_text(run.task_key),
            storable_text(run.dynamic_key),
            task_name,
            None if version is None else storable_text(version),
            self._tags.get(run.tags) or self._tags_text(run.tags),
            self._policies.get(run.policy) or self._policy_text(run.policy),
            to_json(run.task_inputs) if run.task_inputs else "{}",
            to_microseconds(run.created),
        )
        row = _Row(native_id, flow_run_id, task_name, storable_text(run.name), facts)
        row.cache_key = run.cache_key
        row.cache_expiration = run.cache_expiration
        row.flow_run_run_count = run.flow_run_run_count
        row.updated = run.created
        return row

    def _enter(self, row: _Row, state: State[Any], states: list[Any]) -> None:
        kind = state.type
        before = row.state
        if before is not None and before.type in FINAL_TYPES and kind not in FINAL_TYPES:
            row.run_count = 0  # what `rules.task_runs` says of a run that starts anew
        if kind is _RUNNING and row.flow_run_id is not None:
            row.flow_run_run_count = self._flow_run_counts.get(row.flow_run_id, row.flow_run_run_count)
        enter_state(row, state)
        details = state.state_details
        details_text = None
        if details is not row.plain_details:
            record = details.to_record()
            if record:
                details_text = to_json(record)
                if details.cache_key is not None:
                    row.cache_key = storable_text(details.cache_key)
                    row.cache_expiration = details.cache_expiration
            else:
                row.plain_details = details
        data = state.data
        record = None if data is None else result_record(data)
        message = state.message
        states += (
            row.native_id,
            self._native_id(state.id),
            kind._value_,
            storable_text(state.name),
            None if message is None else storable_text(message),
            to_microseconds(state.timestamp),
            details_text,
            None if record is None else to_json(record),
        )

    def _add_log(self, logs: list[Any], event: LogEmitted) -> None:
        flow_run_id, task_run_id, name, level, message, timestamp = event
        microseconds = to_microseconds(timestamp)
        native = self._native_id
        logs += (
            native(NO_FLOW_RUN if flow_run_id is None else flow_run_id),
            self._dialect.native_id_of(self._log_id(microseconds)),
            None if task_run_id is None else native(task_run_id),
            storable_text(name),
            level,
            storable_text(message),
            microseconds,
        )

    # --- rows -------------------------------------------------------------------------------------------

    def _write(self, connection: Connection, touched: list[_Row], states: list[Any]) -> None:
        values: list[Any] = []
        deltas: dict[rollups.RollupKey, int] = {}
        native = self._native_id
        for row in touched:
            row.is_touched = False
            state = row.state
            values += row.facts
            if state is None:
                current = None
                values += (row.name, row.cache_key, _micros(row.cache_expiration), row.flow_run_run_count)
                values += (None, None, None, None, 0, None, None, None, None, 0, _micros(row.updated))
            else:
                kind = state.type._value_
                state_name = storable_text(state.name)
                current = (state_name, kind)
                entered = to_microseconds(state.timestamp)
                values += (
                    row.name,
                    row.cache_key,
                    _micros(row.cache_expiration),
                    row.flow_run_run_count,
                    native(state.id),
                    kind,
                    state_name,
                    entered,
                    row.run_count,
                    _micros(row.expected_start_time),
                    _micros(row.next_scheduled_start_time),
                    _micros(row.start_time),
                    _micros(row.end_time),
                    duration_to_microseconds(row.total_run_time),
                    entered,
                )
            counted = row.counted
            if current != counted and row.flow_run_id is not None:
                if counted is not None:
                    key = (row.flow_run_id, row.task_name, *counted)
                    deltas[key] = deltas.get(key, 0) - 1
                if current is not None:
                    key = (row.flow_run_id, row.task_name, *current)
                    deltas[key] = deltas.get(key, 0) + 1
                row.counted = current
        self._write_task_runs(connection, values)
        if states:
            self._write_states(connection, states)
        if deltas:
            rollups.change(connection, self._dialect, deltas)

    def _load(self, connection: Connection, events: Sequence[JournalEvent]) -> None:
        """Read the task runs that these events are about and that are neither known nor made by them."""
        created = {event.task_run.id for event in events if isinstance(event, TaskRunCreated)}
        wanted = {
            event.task_run_id
            for event in events
            if isinstance(event, (TaskRunEntered, TaskRunRenamed)) and event.task_run_id not in self._rows
        }
        ids = sorted(wanted - created)
        for start in range(0, len(ids), _IDS_IN_A_QUERY):
            query = select(task_run).where(task_run.c.id.in_(ids[start : start + _IDS_IN_A_QUERY]))
            for found in connection.execute(query):
                self._rows[found.id] = self._stored_row(found)

    def _stored_row(self, found: Any) -> _Row:
        native = self._native_id
        facts = (
            native(found.id),
            None if found.flow_run_id is None else native(found.flow_run_id),
            None if found.parent_task_run_id is None else native(found.parent_task_run_id),
            found.task_key,
            found.dynamic_key,
            found.task_name,
            found.task_version,
            to_json(found.tags),
            to_json(found.empirical_policy),
            to_json(found.task_inputs),
            to_microseconds(found.created),
        )
        row = _Row(facts[0], found.flow_run_id, found.task_name, found.name, facts)
        row.cache_key = found.cache_key
        row.cache_expiration = found.cache_expiration
        row.flow_run_run_count = found.flow_run_run_count
        row.run_count = found.run_count
        row.expected_start_time = found.expected_start_time
        row.next_scheduled_start_time = found.next_scheduled_start_time
        row.start_time = found.start_time
        row.end_time = found.end_time
        row.total_run_time = found.total_run_time
        row.updated = found.updated
        if found.state_id is not None:
            row.state = State(
                StateType(found.state_type), found.state_name, None, None, None, found.state_timestamp, found.state_id
            )
            row.counted = (found.state_name, found.state_type)
        return row

    # --- texts that repeat --------------------------------------------------------------------------------

    def _tags_text(self, tags: tuple[str, ...]) -> str:
        text = to_json(list(tags))
        if len(self._tags) < 1000:
            self._tags[tags] = text
        return text

    def _policy_text(self, policy: RetryPolicy) -> str:
        text = to_json(policy.to_record())
        if len(self._policies) < 1000:
            self._policies[policy] = text
        return text


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)
