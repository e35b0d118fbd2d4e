"""Turns the events of the journal into rows of task runs, states, logs and rollups.

What happened to a task run within one batch is collapsed: one row for the task run, one for each state. The rows of
unfinished task runs stay in memory between batches, so that nothing is read on the usual way; rows that are not known
(a retry in another process, after a failed commit) are read in one query. About 13 microseconds a task run with three
states; `benchmarks --only journal` guards it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import (
    JournalEvent,
    LogEmitted,
    TaskRunCreated,
    TaskRunEntered,
    TaskRunMeasured,
    TaskRunRenamed,
)
from flowyard.schemas.policies import NO_RETRIES, RetryPolicy
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import FINAL_TYPES, NO_DETAILS, State, StateType
from flowyard.store import happenings, rollups
from flowyard.store.bulk import BulkInsert
from flowyard.store.dialects import Dialect
from flowyard.store.encoding import (
    duration_to_microseconds,
    record_to_json,
    storable_text,
    to_json,
    to_microseconds,
)
from flowyard.store.logs import NO_FLOW_RUN, LogIds, storable_level
from flowyard.store.plain import PlainConnection
from flowyard.store.rows import Row
from flowyard.store.states import result_record

_logger = logging.getLogger("flowyard.journal")
_NO_TIME = timedelta(0)
_NO_TYPES: frozenset[StateType] = frozenset()
_RUNNING = StateType.RUNNING
# The columns in the order in which `Projection` makes their values. First facts about the call...
FACTS = (
    *("id", "flow_run_id", "parent_task_run_id", "task_key", "dynamic_key", "task_name", "task_version", "tags"),
    *("empirical_policy", "task_inputs", "created"),
)
# ... and then what the upsert changes in a row that exists.
CHANGING = (
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
    "metrics",
)
STATE = ("task_run_id", "id", "type", "name", "message", "timestamp", "state_details", "data")
LOG = ("flow_run_id", "id", "task_run_id", "name", "level", "message", "timestamp")
_IDS_IN_A_QUERY = 500
# Names, tags and policies that are remembered in the form they are stored in; a flow has few, a service's life many.
_MAX_TEXTS = 1000
_NO_RETRIES_TEXT = to_json(NO_RETRIES.to_record())
# About 20 MB. A run of more tasks than that at once reads the others again, in one query a batch.
_MAX_ROWS = 20_000


class _Row:
    """A task run on its way into the database; what `rules.bookkeeping.enter_state` works on."""

    __slots__ = (
        "cache_expiration",
        "cache_key",
        "counted",
        "end_micros",
        "end_time",
        "expected_micros",
        "expected_start_time",
        "facts",
        "flow_run_key",
        "flow_run_run_count",
        "is_touched",
        "metrics",
        "name",
        "native_id",
        "next_scheduled_start_time",
        "plain_details",
        "run_count",
        "start_micros",
        "start_time",
        "state",
        "state_micros",
        "state_native_id",
        "task_name",
        "total_run_time",
        "updated",
    )

    def __init__(
        self, native_id: Any, flow_run_key: int | None, task_name: str, name: str, facts: tuple[Any, ...]
    ) -> None:
        self.native_id = native_id
        self.flow_run_key = flow_run_key
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
        self.metrics: str | None = None
        # The times above as they are stored, kept because most of them are one and the same.
        self.state_native_id: Any = None
        self.state_micros: int | None = None
        self.expected_micros: int | None = None
        self.start_micros: int | None = None
        self.end_micros: int | None = None


class Projection:
    """The journal's view of the task runs it writes about. Used by one thread."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._native_id = dialect.native_id
        # By the number of the id: the hash of a UUID is a Python function, five times as slow as that of an int.
        self._rows: dict[int, _Row] = {}
        self._written: list[tuple[int, _Row]] = []
        self._flow_run_counts: dict[int, int] = {}
        self._log_id = LogIds()
        self._texts: dict[str, str] = {}
        self._tags: dict[tuple[str, ...], str] = {(): "[]"}
        self._policies: dict[RetryPolicy, str] = {}
        change = f"(id) DO UPDATE SET {', '.join([f'{name} = excluded.{name}' for name in CHANGING])}"
        self._write_task_runs = BulkInsert(dialect, "task_run", (*FACTS, *CHANGING), conflict=change)
        self._write_states = BulkInsert(dialect, "task_run_state", STATE, conflict="DO NOTHING")
        self._write_rollups = rollups.RollupWriter(dialect)
        self._write_logs = BulkInsert(dialect, "log", LOG, conflict="DO NOTHING")

    def __len__(self) -> int:
        return len(self._rows)

    def apply(self, connection: PlainConnection, events: Sequence[JournalEvent]) -> None:
        """Write what the events say. When the transaction fails, call `forget_all`; when it commits, `settle`."""
        rows = self._rows
        noting = connection.happenings
        worth_an_event = _NO_TYPES if noting is None else noting.task_run_types
        touched: list[tuple[int, _Row]] = []
        states: list[Any] = []
        logs: list[Any] = []
        for index, event in enumerate(events):
            if type(event) is TaskRunEntered:
                key = event[0].int
                row = rows.get(key) or self._find(connection, key, events[index:])
                if row is None:
                    continue
                if event[1].type in worth_an_event:
                    assert noting is not None
                    noting.noted.append(_happening(row, event))
                self._enter(row, event[1], states)
            elif type(event) is TaskRunCreated:
                run = event[0]
                key = run.id.int
                row = rows.get(key)
                if row is None:
                    row = rows[key] = self._new_row(run)
            elif type(event) is LogEmitted:
                self._add_log(logs, event)
                continue
            else:
                assert isinstance(event, (TaskRunMeasured, TaskRunRenamed))
                key = event[0].int
                row = rows.get(key) or self._find(connection, key, events[index:])
                if row is None:
                    continue
                if isinstance(event, TaskRunMeasured):
                    row.metrics = record_to_json(event[1]._fields, event[1])
                else:
                    row.name = storable_text(event[1])
            if not row.is_touched:
                row.is_touched = True
                touched.append((key, row))
        if touched:
            self._written += touched
            self._write(connection, touched, states)
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
        numbers = {flow_run_id.int for flow_run_id in flow_run_ids}
        gone = [key for key, row in self._rows.items() if row.flow_run_key in numbers]
        for key in gone:
            del self._rows[key]
        for number in numbers:
            self._flow_run_counts.pop(number, None)

    def note_run_count(self, flow_run_id: UUID, run_count: int) -> None:
        """Say which attempt of a flow run the task runs that start from now on belong to."""
        self._flow_run_counts[flow_run_id.int] = run_count

    # --- events -----------------------------------------------------------------------------------------

    def _new_row(self, run: TaskRun) -> _Row:
        native = self._native_id
        text = self._texts.get
        flow_run_id = run.flow_run_id
        parent_id = run.parent_task_run_id
        native_id = native(run.id)
        task_name = text(run.task_name) or self._text(run.task_name)
        version = run.task_version
        facts = (
            native_id,
            None if flow_run_id is None else native(flow_run_id),
            None if parent_id is None else native(parent_id),
            text(run.task_key) or self._text(run.task_key),
            storable_text(run.dynamic_key),
            task_name,
            None if version is None else self._text(version),
            self._tags.get(run.tags) or self._tags_text(run.tags),
            _NO_RETRIES_TEXT if run.policy is NO_RETRIES else self._policy_text(run.policy),
            to_json(run.task_inputs) if run.task_inputs else "{}",
            to_microseconds(run.created),
        )
        key = None if flow_run_id is None else flow_run_id.int
        row = _Row(native_id, key, task_name, storable_text(run.name), facts)
        row.cache_key = run.cache_key
        row.cache_expiration = run.cache_expiration
        row.flow_run_run_count = run.flow_run_run_count
        row.updated = run.created
        return row

    def _enter(self, row: _Row, state: State[Any], states: list[Any]) -> None:
        kind = state.type
        before = row.state
        if before is not None and before.type in FINAL_TYPES and kind not in FINAL_TYPES:
            row.metrics = None
            row.run_count = 0  # what `rules.task_runs` says of a run that starts anew
        if kind is _RUNNING and row.flow_run_key is not None:
            row.flow_run_run_count = self._flow_run_counts.get(row.flow_run_key, row.flow_run_run_count)
        enter_state(row, state)
        timestamp = state.timestamp
        row.state_micros = micros = to_microseconds(timestamp)
        if row.start_time is timestamp:
            row.start_micros = micros
        if row.end_time is timestamp:
            row.end_micros = micros
        if row.expected_micros is None:
            expected = row.expected_start_time
            row.expected_micros = micros if expected is timestamp else _micros(expected)
        details = state.state_details
        details_text = None
        if details is not row.plain_details:
            if details.is_plain:
                row.plain_details = details
            else:
                details_text = to_json(details.to_record())
                if details.cache_key is not None:
                    row.cache_key = storable_text(details.cache_key)
                    row.cache_expiration = details.cache_expiration
        data = state.data
        record = None if data is None else result_record(data)
        message = state.message
        row.state_native_id = state_id = self._native_id(state.id)
        states += (
            row.native_id,
            state_id,
            kind._value_,
            self._texts.get(state.name) or self._text(state.name),
            None if message is None else storable_text(message),
            micros,
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
            storable_level(level),
            storable_text(message),
            microseconds,
        )

    # --- rows -------------------------------------------------------------------------------------------

    def _write(self, connection: PlainConnection, touched: list[tuple[int, _Row]], states: list[Any]) -> None:
        values: list[Any] = []
        deltas: dict[rollups.RollupKey, int] = {}
        for _, row in touched:
            row.is_touched = False
            values += row.facts
            state = row.state
            if state is None:
                current = None
                values += (row.name, row.cache_key, _micros(row.cache_expiration), row.flow_run_run_count)
                values += (None, None, None, None, 0, None, None, None, None, 0, _micros(row.updated), row.metrics)
            else:
                kind = state.type._value_
                state_name = self._texts.get(state.name) or self._text(state.name)
                current = (state_name, kind)
                due = row.next_scheduled_start_time
                values += (
                    row.name,
                    row.cache_key,
                    None if row.cache_expiration is None else to_microseconds(row.cache_expiration),
                    row.flow_run_run_count,
                    row.state_native_id,
                    kind,
                    state_name,
                    row.state_micros,
                    row.run_count,
                    row.expected_micros,
                    None if due is None else to_microseconds(due),
                    None if row.start_time is None else row.start_micros,
                    None if row.end_time is None else row.end_micros,
                    duration_to_microseconds(row.total_run_time),
                    row.state_micros,
                    row.metrics,
                )
            counted = row.counted
            if current != counted and row.flow_run_key is not None:
                if counted is not None:
                    key = (row.flow_run_key, row.task_name, *counted)
                    deltas[key] = deltas.get(key, 0) - 1
                if current is not None:
                    key = (row.flow_run_key, row.task_name, *current)
                    deltas[key] = deltas.get(key, 0) + 1
                row.counted = current
        self._write_task_runs(connection, values)
        if states:
            self._write_states(connection, states)
        if deltas:
            self._write_rollups(connection, deltas)

    def _find(self, connection: PlainConnection, key: int, events: Sequence[JournalEvent]) -> _Row | None:
        """Return the row of a task run that is not in memory, and read the others that the events will need."""
        created = {event.task_run.id.int for event in events if isinstance(event, TaskRunCreated)}
        wanted = {
            event.task_run_id
            for event in events
            if isinstance(event, (TaskRunEntered, TaskRunMeasured, TaskRunRenamed))
            and event.task_run_id.int not in self._rows
            and event.task_run_id.int not in created
        }
        ids = sorted(wanted)
        for start in range(0, len(ids), _IDS_IN_A_QUERY):
            some = ids[start : start + _IDS_IN_A_QUERY]
            for found in connection.rows(f"SELECT * FROM task_run WHERE id IN ({', '.join('?' * len(some))})", *some):
                self._rows[found.id.int] = self._stored_row(found)
        row = self._rows.get(key)
        if row is None:
            _logger.error("dropped %r: there is no such task run; was its flow run deleted?", events[0])
        return row

    def _stored_row(self, found: Row) -> _Row:
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
        key = None if found.flow_run_id is None else found.flow_run_id.int
        row = _Row(facts[0], key, found.task_name, found.name, facts)
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
        row.metrics = None if found.metrics is None else to_json(found.metrics)
        if found.state_id is not None:
            row.state = State(
                StateType(found.state_type), found.state_name, None, None, None, found.state_timestamp, found.state_id
            )
            row.counted = (found.state_name, found.state_type)
            row.state_native_id = native(found.state_id)
            row.state_micros = to_microseconds(found.state_timestamp)
            row.expected_micros = _micros(found.expected_start_time)
            row.start_micros = _micros(found.start_time)
            row.end_micros = _micros(found.end_time)
        return row

    # --- texts that repeat --------------------------------------------------------------------------------

    def _text(self, text: str) -> str:
        found = storable_text(text)
        if len(self._texts) < _MAX_TEXTS:
            self._texts[text] = found
        return found

    def _tags_text(self, tags: tuple[str, ...]) -> str:
        text = to_json(list(tags))
        if len(self._tags) < _MAX_TEXTS:
            self._tags[tags] = text
        return text

    def _policy_text(self, policy: RetryPolicy) -> str:
        text = self._policies.get(policy)
        if text is None:
            text = to_json(policy.to_record())
            if len(self._policies) < _MAX_TEXTS:
                self._policies[policy] = text
        return text


def _happening(row: _Row, entered: TaskRunEntered) -> happenings.TaskRunEntered:
    flow_run_id = None if row.flow_run_key is None else UUID(int=row.flow_run_key)
    tags: list[str] = json.loads(row.facts[FACTS.index("tags")])
    return happenings.TaskRunEntered(entered.task_run_id, flow_run_id, row.name, tags, row.state, entered.state)


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_microseconds(moment)
