"""Outcomes as bytes, on their way back to the flow's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import fields
from datetime import timedelta
from operator import attrgetter
from typing import Any, cast

from flowyard.exceptions import MissingResult, UnpicklableValue
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import JournalEvent, TaskRunEntered
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.schemas.wire import VERSION, decode, decode_metrics, decode_state, encode, encode_data, encode_state
from flowyard.schemas.wire_values import interval_to_wire, packb, time_from_wire, time_to_wire
from flowyard.task_runners.base import Outcome
from flowyard.task_runners.envelopes import Envelope, put, read_control, take
from flowyard.task_runners.packing_errors import Failure, pack_error, unpack_error
from flowyard.task_runners.pickling import Buffer, pickled_or_blame

_NOTHING, _VALUE, _HANDLE, _ERROR, _MISSING = range(5)
_UNREAD = object()
_UNPERSISTED = {"type": "unpersisted"}


class RemoteResult:
    """A `ResultHandle` of a value that another process made: it is unpickled when it is asked for."""

    __slots__ = ("_buffers", "_handle", "_lock", "_payload", "_value", "failure", "record", "what", "where")

    def __init__(
        self, payload: list[Any], buffers: Sequence[Buffer], record: dict[str, Any], what: str, where: str
    ) -> None:
        self._payload: list[Any] | None = payload
        self._buffers: Sequence[Buffer] = buffers
        self._handle = take(payload[1], buffers) if payload[0] == _HANDLE else None
        self._lock = threading.Lock()
        self._value: Any = _UNREAD
        self.record = record
        self.what = what
        self.where = where
        self.failure: Failure | None = None
        """Type, message and traceback when the value is an exception."""
        if payload[0] == _ERROR:
            self.failure = Failure(*payload[1][0][:3])

    def get(self) -> Any:
        """Return the value.

        Raises:
            MissingResult: the value was not kept.
            UnpicklableValue: it cannot be rebuilt in this process, e.g. because a module is missing here.
        """
        with self._lock:
            if self._payload is not None:
                self._value = self._load(self._payload)
                self._payload, self._buffers = None, ()
        return self._value

    def _load(self, payload: list[Any]) -> Any:
        kind, content = payload
        if kind == _ERROR:
            return unpack_error(content, self._buffers, self.where)
        if kind == _MISSING:
            raise MissingResult(content)
        try:
            found = take(content, self._buffers).load()
        except Exception as error:
            cause = f"this process cannot rebuild it: {type(error).__name__}: {error}"
            raise UnpicklableValue(self.what, "value", cause) from error
        return found.get() if kind == _HANDLE else found

    def handle(self) -> Any:
        """Return the handle of a persisted value, without reading the value; this itself for any other value.

        Raises:
            UnpicklableValue: the handle cannot be rebuilt in this process.
        """
        return self if self._handle is None else self._handle.load()

    def to_record(self) -> dict[str, Any]:
        """Return what the state backend stores."""
        return self.record

    def __repr__(self) -> str:
        state = "not read yet" if self._payload is not None else f"a {type(self._value).__name__}"
        return f"RemoteResult({self.what}, {state})"

    def __reduce__(self) -> tuple[Any, ...]:
        with self._lock:
            payload, buffers, value = self._payload, self._buffers, self._value
        facts = (self.record, self.what, self.where)
        if payload is None:
            return _read_result, (value, self.failure, *facts)
        return RemoteResult, (payload, [bytes(buffer) for buffer in buffers], *facts)


def _read_result(value: Any, failure: Failure | None, record: dict[str, Any], what: str, where: str) -> RemoteResult:
    result = RemoteResult([_MISSING, ""], (), record, what, where)
    result._payload = None  # pyright: ignore[reportPrivateUsage]
    result._value = value  # pyright: ignore[reportPrivateUsage]
    result.failure = failure
    return result


def unread_value(data: Buffer, task_name: str, where: str) -> RemoteResult:
    """Return the handle of a value that arrived as a pickle without large buffers."""
    return RemoteResult([_VALUE, data], (), _UNPERSISTED, what_of(task_name), where)


def what_of(task_name: str) -> str:
    """Return what messages call the value of a task's run."""
    return f"result of task {task_name!r}"


# --- packing ----------------------------------------------------------------------------------------------


def pack_outcome(outcome: Outcome, where: str = "a worker process", *, value_stays: bool = False) -> Envelope:
    """Return an outcome as bytes, with the events in it.

    When the value cannot be pickled, the outcome is changed first: the task run enters Failed with `UnpicklableValue`
    instead of Completed, because nobody will ever have its value. `where` names this process in tracebacks. With
    `value_stays` an unpersisted value of a Completed run is left out: its runner keeps it where it was made.
    """
    buffers: list[Buffer] = []
    began = time.perf_counter()
    try:
        payload = None if value_stays and stays(outcome) else _pack_data(outcome, buffers)
    except UnpicklableValue as error:
        buffers = []
        fail_unpicklable(outcome, error)
        payload = [_ERROR, pack_error(error, buffers)]
    metrics = outcome.metrics
    if metrics is not None and metrics.worker_seconds is not None:
        metrics = metrics._replace(worker_seconds=metrics.worker_seconds + time.perf_counter() - began)
        if payload is not None and payload[0] in (_VALUE, _HANDLE):
            metrics = metrics._replace(bytes_out=_size_of(payload[1], buffers))
    run, state = outcome.task_run, outcome.state
    control = [
        VERSION,
        [
            run.name,
            run.run_count,
            time_to_wire(run.expected_start_time),
            time_to_wire(run.next_scheduled_start_time),
            time_to_wire(run.start_time),
            time_to_wire(run.end_time),
            interval_to_wire(run.total_run_time),
            time_to_wire(run.updated),
            run.cache_key,
            time_to_wire(run.cache_expiration),
        ],
        encode_state(state),
        payload,
        # The final state is nearly always an event as well: it is sent once.
        [None if _enters(event, state) else encode(event) for event in outcome.events],
        outcome.lost_worker,
        metrics,
        where,
        outcome.is_synthesised,
    ]
    return Envelope(packb(control), buffers)


def _size_of(reference: Any, buffers: Sequence[Buffer]) -> int:
    """Return the size of a pickle that `put` put into a message with these buffers only."""
    return len(reference) if isinstance(reference, bytes) else sum(memoryview(buffer).nbytes for buffer in buffers)


def stays(outcome: Outcome) -> bool:
    """Say whether an outcome has a value that is nowhere but in memory."""
    return outcome.state.is_completed() and encode_data(outcome.state.data) == _UNPERSISTED


def _enters(event: JournalEvent, state: State[Any]) -> bool:
    return isinstance(event, TaskRunEntered) and event.state is state


def _pack_data(outcome: Outcome, buffers: list[Buffer]) -> list[Any] | None:
    data, name = outcome.state.data, outcome.task_run.task_name
    if data is None:
        return None
    record = encode_data(data)
    value = data
    if hasattr(cast("object", type(data)), "to_record"):
        if record != _UNPERSISTED:
            return [_HANDLE, put(pickled_or_blame(data, f"result handle of task {name!r}"), buffers)]
        try:
            value = data.get()
        except MissingResult as error:
            return [_MISSING, str(error)]
    if isinstance(value, BaseException):
        return [_ERROR, pack_error(value, buffers)]
    return [_VALUE, put(pickled_or_blame(value, what_of(name)), buffers)]


def fail_unpicklable(outcome: Outcome, error: UnpicklableValue) -> None:
    """Replace the state of an outcome whose value cannot leave its process: it enters Failed with `error`."""
    run, completed = outcome.task_run, outcome.state
    failed: State[Any] = State(
        StateType.FAILED,
        message=f"Task run encountered an exception. {type(error).__name__}: {error}",
        data=error,
        state_details=completed.state_details,
        timestamp=completed.timestamp,
    )
    enter_state(run, failed)
    outcome.state = failed
    outcome.is_synthesised = True  # what the shim has logged is that the run completed
    entered = TaskRunEntered(run.id, failed)
    for number, event in enumerate(outcome.events):
        if _enters(event, completed):
            outcome.events[number] = entered
            break
    else:
        outcome.events.append(entered)


def unpack_outcome(envelope: Envelope, task_run: TaskRun) -> Outcome:
    """Return the outcome of `task_run`, which is left as it is: the outcome has a copy that was brought forward."""
    wire = read_control(envelope.control)
    progress, state_wire, payload, events, lost_worker, metrics, where, is_synthesised = wire[1:9]
    data: Any = None
    if payload is not None:
        record = cast("dict[str, Any]", state_wire[6])
        data = RemoteResult(payload, envelope.buffers, record, what_of(task_run.task_name), where)
    state = decode_state(state_wire, data)
    run = copy_run(task_run)
    run.name = progress[0]
    run.run_count = progress[1]
    run.expected_start_time = time_from_wire(progress[2])
    run.next_scheduled_start_time = time_from_wire(progress[3])
    run.start_time = time_from_wire(progress[4])
    run.end_time = time_from_wire(progress[5])
    run.total_run_time = timedelta(microseconds=progress[6])
    run.updated = time_from_wire(progress[7])
    run.cache_key = progress[8]
    run.cache_expiration = time_from_wire(progress[9])
    run.state = state
    decoded: list[JournalEvent] = [
        TaskRunEntered(run.id, state) if event is None else cast("JournalEvent", decode(event)) for event in events
    ]
    return Outcome(
        run,
        state,
        decoded,
        is_synthesised=is_synthesised,
        lost_worker=lost_worker,
        metrics=decode_metrics(metrics),
    )


_fields_of = attrgetter(*(field.name for field in fields(TaskRun)))


def copy_run(run: TaskRun) -> TaskRun:
    """Return a run of its own with the same fields."""
    return TaskRun(*_fields_of(run))
