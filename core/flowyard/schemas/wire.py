"""The control plane's records as msgpack: between processes, in the spool, in `POST /api/journal`.

A record is one array, `[kind, field, field, ...]`, with the fields in the order of the functions below; `pack` puts
the version before it. A reader ignores what stands behind the fields it knows, so a later release may append fields
without a new version. Times are integers (microseconds since the epoch, UTC), ids are 16 bytes.

Values never travel here: the `data` of a state is what its handle's `to_record` says about it. A task run takes about 7
microseconds to pack and 10 to unpack, a state 4 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast
from uuid import UUID

from flowyard.exceptions import UnknownWireFormat
from flowyard.schemas.events import (
    JournalEvent,
    LogEmitted,
    TaskRunCreated,
    TaskRunEntered,
    TaskRunMeasured,
    TaskRunRenamed,
)
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.policies import NO_RETRIES, RetryPolicy
from flowyard.schemas.recorded_result import RecordedResult
from flowyard.schemas.runs import FlowRun, StartInfo, TaskRun
from flowyard.schemas.states import NO_DETAILS, State, StateDetails, StateType
from flowyard.schemas.wire_values import (
    aware_from_wire,
    id_from_wire,
    id_to_wire,
    interval_to_wire,
    maybe_id_from_wire,
    packb,
    plain,
    time_from_wire,
    time_to_wire,
    unpackb,
)

VERSION = 1

Record = TaskRun | FlowRun | State[Any] | StateDetails | RetryPolicy | JournalEvent
"""What `pack` takes."""

_NO_TIME = timedelta(0)
_UNPERSISTED = {"type": "unpersisted"}


# --- records that stand inside others --------------------------------------------------------------------


def encode_policy(policy: RetryPolicy) -> list[Any] | None:
    """Return a policy's array; None for no retries."""
    if policy is NO_RETRIES:
        return None
    return [policy.retries, list(policy.delays), policy.jitter_factor, policy.crash_retries]


def decode_policy(wire: list[Any] | None) -> RetryPolicy:
    """Read what `encode_policy` wrote."""
    if wire is None:
        return NO_RETRIES
    retries, delays, jitter_factor, crash_retries = wire[:4]
    return RetryPolicy(retries, tuple(delays), jitter_factor, crash_retries)


_DETAIL_CODECS: tuple[tuple[str, Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    ("child_flow_run_id", id_to_wire, id_from_wire),
    ("scheduled_time", time_to_wire, aware_from_wire),
    ("cache_key", str, str),
    ("cache_expiration", time_to_wire, aware_from_wire),
    ("untrackable_result", bool, bool),
    ("pause_timeout", time_to_wire, aware_from_wire),
    ("pause_reschedule", bool, bool),
    ("pause_key", str, str),
    ("run_input_keyset", dict, dict),
    ("refresh_cache", bool, bool),
    ("retriable", bool, bool),
    ("transition_id", id_to_wire, id_from_wire),
    ("task_parameters_id", id_to_wire, id_from_wire),
    ("cache_trace", dict, dict),
    ("transaction", str, str),
)


_detail_values = attrgetter(*(name for name, _, _ in _DETAIL_CODECS))
_DETAIL_DEFAULTS = _detail_values(NO_DETAILS)


def encode_details(details: StateDetails) -> list[Any] | None:
    """Return `[flow_run_id, task_run_id, {field number: value}]`; None when nothing is set."""
    if details is NO_DETAILS:
        return None
    wire: list[Any] = [id_to_wire(details.flow_run_id), id_to_wire(details.task_run_id)]
    if not details.is_plain:
        values = _detail_values(details)
        wire.append(
            {
                number: _DETAIL_CODECS[number][1](value)
                for number, (value, default) in enumerate(zip(values, _DETAIL_DEFAULTS, strict=True))
                if value is not default
            }
        )
    return wire


def decode_details(wire: list[Any] | None) -> StateDetails:
    """Read what `encode_details` wrote."""
    if wire is None:
        return NO_DETAILS
    details = _details_of_run(wire[0], wire[1])
    if len(wire) == 2:
        return details
    values: dict[str, Any] = {}
    for number, value in cast("dict[int, Any]", wire[2]).items():
        if number < len(_DETAIL_CODECS):
            codec = _DETAIL_CODECS[number]
            values[codec[0]] = codec[2](value)
    return replace(details, **values)


# The states of a run come one after the other, and details cannot be changed.
@lru_cache(256)
def _details_of_run(flow_run_id: bytes | None, task_run_id: bytes | None) -> StateDetails:
    return StateDetails(_run_id(flow_run_id), _run_id(task_run_id))


@lru_cache(1024)
def _run_id(raw: bytes | None) -> Any:
    """Return the id of a run, or None for None. It comes back with every state and event of the run."""
    return maybe_id_from_wire(raw)


def encode_data(data: Any) -> dict[str, Any] | None:
    """Return what may be told about the value of a state: its handle's record, never the value."""
    if data is None:
        return None
    to_record = getattr(cast("object", type(data)), "to_record", None)
    return _UNPERSISTED if to_record is None or not hasattr(data, "get") else data.to_record()


_TYPES: tuple[StateType, ...] = tuple(StateType)
_TYPE_NUMBER = {kind: number for number, kind in enumerate(_TYPES)}


def encode_state(state: State[Any]) -> list[Any]:
    """Return a state's array; its `data` as a record."""
    return [
        _TYPE_NUMBER[state.type],
        state.name,
        state.message,
        time_to_wire(state.timestamp),
        state.id.bytes,
        encode_details(state.state_details),
        encode_data(state.data),
    ]


def decode_state(wire: list[Any], data: Any = None) -> State[Any]:
    """Read what `encode_state` wrote; `data` takes the place of the record."""
    kind: int = wire[0]
    name, message, timestamp, raw_id, details, record = wire[1:7]
    if data is None and record is not None:
        data = RecordedResult(record)
    return State(
        _TYPES[kind], name, message, data, decode_details(details), aware_from_wire(timestamp), id_from_wire(raw_id)
    )


def _maybe_state(state: State[Any] | None) -> list[Any] | None:
    return None if state is None else encode_state(state)


def _state_or_none(wire: list[Any] | None) -> State[Any] | None:
    return None if wire is None else decode_state(wire)


def _encode_inputs(inputs: Mapping[str, Sequence[Mapping[str, str]]]) -> dict[str, list[Any]]:
    return {name: [_encode_input(item) for item in items] for name, items in inputs.items()}


def _encode_input(item: Mapping[str, str]) -> Any:
    # Nearly every input is a task run: 16 bytes instead of a map of 70. Other spellings of an id stay what they are.
    if len(item) == 2 and item.get("input_type") == "task_run" and "id" in item:
        try:
            made = UUID(item["id"])
        except ValueError:
            return dict(item)
        if str(made) == item["id"]:
            return made.bytes
    return dict(item)


def _decode_inputs(wire: Mapping[str, Sequence[Any]]) -> dict[str, list[dict[str, str]]]:
    return {
        name: [
            {"input_type": "task_run", "id": str(id_from_wire(item))} if isinstance(item, bytes) else dict(item)
            for item in items
        ]
        for name, items in wire.items()
    }


def decode_metrics(wire: Sequence[Any] | None) -> TaskMetrics | None:
    """Read a `TaskMetrics`, which is written as the array that it is."""
    return None if wire is None else TaskMetrics(*wire[: len(TaskMetrics._fields)])


# --- runs ---------------------------------------------------------------------------------------------


def encode_task_run(run: TaskRun) -> list[Any]:
    """Return a task run's array."""
    return [
        run.task_key,
        run.dynamic_key,
        run.name,
        run.task_name,
        id_to_wire(run.flow_run_id),
        id_to_wire(run.parent_task_run_id),
        run.id.bytes,
        run.task_version,
        run.tags,
        encode_policy(run.policy),
        _encode_inputs(run.task_inputs) if run.task_inputs else None,
        run.cache_key,
        time_to_wire(run.cache_expiration),
        run.flow_run_run_count,
        _maybe_state(run.state),
        run.run_count,
        time_to_wire(run.expected_start_time),
        time_to_wire(run.next_scheduled_start_time),
        time_to_wire(run.start_time),
        time_to_wire(run.end_time),
        interval_to_wire(run.total_run_time),
        time_to_wire(run.created),
        time_to_wire(run.updated),
        run.metrics,
    ]


def decode_task_run(wire: list[Any]) -> TaskRun:
    """Read what `encode_task_run` wrote."""
    return TaskRun(
        wire[0],
        wire[1],
        wire[2],
        wire[3],
        _run_id(wire[4]),
        _run_id(wire[5]),
        id_from_wire(wire[6]),
        wire[7],
        tuple(wire[8]),
        decode_policy(wire[9]),
        _decode_inputs(wire[10]) if wire[10] else {},
        wire[11],
        time_from_wire(wire[12]),
        wire[13],
        _state_or_none(wire[14]),
        wire[15],
        time_from_wire(wire[16]),
        time_from_wire(wire[17]),
        time_from_wire(wire[18]),
        time_from_wire(wire[19]),
        timedelta(microseconds=wire[20]) if wire[20] else _NO_TIME,
        aware_from_wire(wire[21]),
        time_from_wire(wire[22]),
        decode_metrics(wire[23]) if len(wire) > 23 else None,
    )


def encode_flow_run(run: FlowRun) -> list[Any]:
    """Return a flow run's array. A parameter that is not plain data travels as its `repr`."""
    start = run.start
    return [
        run.flow_id.bytes,
        run.name,
        run.id.bytes,
        run.flow_name,
        run.flow_version,
        plain(run.parameters),
        plain(run.context),
        run.tags,
        encode_policy(run.policy),
        sorted(run.pause_keys),
        run.resuming,
        run.retry_type,
        id_to_wire(run.parent_task_run_id),
        id_to_wire(run.deployment_id),
        run.infrastructure_pid,
        run.idempotency_key,
        [start.entrypoint, start.source_hash, start.working_directory, start.parameters_key],
        _maybe_state(run.state),
        run.run_count,
        time_to_wire(run.expected_start_time),
        time_to_wire(run.next_scheduled_start_time),
        time_to_wire(run.start_time),
        time_to_wire(run.end_time),
        interval_to_wire(run.total_run_time),
        time_to_wire(run.created),
        time_to_wire(run.updated),
    ]


def decode_flow_run(wire: list[Any]) -> FlowRun:
    """Read what `encode_flow_run` wrote."""
    return FlowRun(
        flow_id=id_from_wire(wire[0]),
        name=wire[1],
        id=id_from_wire(wire[2]),
        flow_name=wire[3],
        flow_version=wire[4],
        parameters=wire[5],
        context=wire[6],
        tags=wire[7],
        policy=decode_policy(wire[8]),
        pause_keys=frozenset(wire[9]),
        resuming=wire[10],
        retry_type=wire[11],
        parent_task_run_id=maybe_id_from_wire(wire[12]),
        deployment_id=maybe_id_from_wire(wire[13]),
        infrastructure_pid=wire[14],
        idempotency_key=wire[15],
        start=StartInfo(*wire[16][:4]),
        state=_state_or_none(wire[17]),
        run_count=wire[18],
        expected_start_time=time_from_wire(wire[19]),
        next_scheduled_start_time=time_from_wire(wire[20]),
        start_time=time_from_wire(wire[21]),
        end_time=time_from_wire(wire[22]),
        total_run_time=timedelta(microseconds=wire[23]),
        created=aware_from_wire(wire[24]),
        updated=aware_from_wire(wire[25]),
    )


# --- events -------------------------------------------------------------------------------------------


def _encode_created(event: TaskRunCreated) -> list[Any]:
    return [_CREATED, encode_task_run(event.task_run)]


def _encode_renamed(event: TaskRunRenamed) -> list[Any]:
    return [_RENAMED, event.task_run_id.bytes, event.name]


def _encode_entered(event: TaskRunEntered) -> list[Any]:
    return [_ENTERED, event.task_run_id.bytes, encode_state(event.state)]


def _encode_measured(event: TaskRunMeasured) -> list[Any]:
    return [_MEASURED, event.task_run_id.bytes, event.metrics]


def _decode_measured(wire: list[Any]) -> TaskRunMeasured:
    return TaskRunMeasured(id_from_wire(wire[1]), TaskMetrics(*wire[2][: len(TaskMetrics._fields)]))


def _encode_log(event: LogEmitted) -> list[Any]:
    return [
        _LOG,
        id_to_wire(event.flow_run_id),
        id_to_wire(event.task_run_id),
        event.name,
        event.level,
        event.message,
        time_to_wire(event.timestamp),
    ]


def _decode_log(wire: list[Any]) -> LogEmitted:
    flow_run_id, task_run_id, name, level, message, timestamp = wire[1:7]
    return LogEmitted(
        maybe_id_from_wire(flow_run_id),
        maybe_id_from_wire(task_run_id),
        name,
        level,
        message,
        aware_from_wire(timestamp),
    )


# Kinds are numbers that never change their meaning.
_TASK_RUN, _FLOW_RUN, _STATE, _DETAILS, _POLICY, _CREATED, _RENAMED, _ENTERED, _LOG, _MEASURED = range(10)

_ENCODERS: dict[type, Callable[[Any], list[Any]]] = {
    TaskRun: lambda run: [_TASK_RUN, encode_task_run(run)],
    FlowRun: lambda run: [_FLOW_RUN, encode_flow_run(run)],
    State: lambda state: [_STATE, encode_state(state)],
    StateDetails: lambda details: [_DETAILS, encode_details(details)],
    RetryPolicy: lambda policy: [_POLICY, encode_policy(policy)],
    TaskRunCreated: _encode_created,
    TaskRunRenamed: _encode_renamed,
    TaskRunEntered: _encode_entered,
    LogEmitted: _encode_log,
    TaskRunMeasured: _encode_measured,
}

_DECODERS: dict[int, Callable[[list[Any]], Any]] = {
    _TASK_RUN: lambda wire: decode_task_run(wire[1]),
    _FLOW_RUN: lambda wire: decode_flow_run(wire[1]),
    _STATE: lambda wire: decode_state(wire[1]),
    _DETAILS: lambda wire: decode_details(wire[1]),
    _POLICY: lambda wire: decode_policy(wire[1]),
    _CREATED: lambda wire: TaskRunCreated(decode_task_run(wire[1])),
    _RENAMED: lambda wire: TaskRunRenamed(id_from_wire(wire[1]), wire[2]),
    _ENTERED: lambda wire: TaskRunEntered(_run_id(wire[1]), decode_state(wire[2])),
    _LOG: _decode_log,
    _MEASURED: _decode_measured,
}


def encode(record: Record) -> list[Any]:
    """Return the array of a record, to be put into an envelope that `packb` packs.

    Raises:
        TypeError: this is not a record of the control plane.
    """
    encoder = _ENCODERS.get(type(record))
    if encoder is None:
        raise TypeError(f"a {type(record).__name__} is not a record of the control plane: {record!r}")
    return encoder(record)


def decode(wire: list[Any]) -> Any:
    """Return the record of an array that `encode` made.

    Raises:
        UnknownWireFormat: a newer version of Flowyard wrote it.
    """
    decoder = _DECODERS.get(wire[0])
    if decoder is None:
        raise UnknownWireFormat("kind", wire[0], len(_DECODERS) - 1)
    return decoder(wire)


def encode_events(events: Iterable[JournalEvent]) -> list[list[Any]]:
    """Return the arrays of several events."""
    return [_ENCODERS[type(event)](event) for event in events]


def decode_events(wire: Iterable[list[Any]]) -> list[JournalEvent]:
    """Read what `encode_events` wrote."""
    return [decode(item) for item in wire]


def pack(record: Record) -> bytes:
    """Return a record as bytes, with the version of the format.

    Raises:
        TypeError: this is not a record of the control plane.
        ValueError: a time has no time zone.
    """
    return packb([VERSION, *encode(record)])


def unpack(data: bytes | bytearray | memoryview) -> Any:
    """Return the record that `pack` packed.

    Raises:
        UnknownWireFormat: a newer version of Flowyard wrote it.
    """
    wire: object = unpackb(data)
    fields = cast("list[Any]", wire) if isinstance(wire, list) else [wire]
    if fields[0] != VERSION:
        raise UnknownWireFormat("version", fields[0], VERSION)
    return decode(fields[1:])
