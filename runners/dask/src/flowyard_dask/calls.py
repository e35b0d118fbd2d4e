"""What a Dask worker executes: one call, or a chunk of calls, packed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Token
from typing import Any, cast

from dask.sizeof import sizeof
from distributed import get_worker

from flowyard.containers import rebuild
from flowyard.exceptions import UnpicklableValue, ValueLost, WorkerLost
from flowyard.process.collecting import COLLECTING
from flowyard.results.handles import UnpersistedResult
from flowyard.rules.bookkeeping import enter_state
from flowyard.rules.crashes import crashed_state
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.runs import TaskRun, utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.schemas.wire_values import unpackb
from flowyard.task_runners.base import Held, Outcome, TaskCall, Upstream
from flowyard.task_runners.envelopes import Envelope, take
from flowyard.task_runners.packing import ArrivedCall
from flowyard.task_runners.pickling import Pickled, is_plain_scalar, sampled
from flowyard.task_runners.plain_calls import ArrivedPlainCall, ArrivedPlainCalls
from flowyard_dask.kept import Chunk, Kept, Lifted, Payload, PlainChunk
from flowyard_dask.reports import Packed
from flowyard_dask.station import CallRecorder, Station, station_of

_INLINE = 1024
"""A value of up to this many bytes travels with the outcome as well: asking for it costs no round trip."""
SAMPLE = 64 * 1024
"""Values from about this size on are not measured."""
_HINT = (
    "; it must be importable on the workers: install it there, put it on their PYTHONPATH, or send it with "
    "`client.upload_file(...)` (`get_dask_client()` gives a client)"
)


def run_call(topic: str, payload: Payload, *found: Any) -> Kept:
    """Execute one call; `found` has what its dependencies left. Never raises for what user code does."""
    worker = get_worker()
    key = cast("str", worker.get_current_task())
    station = station_of(worker)
    try:
        return _run(station, topic, key, None, payload, found)
    finally:
        station.done(topic, key)


def run_chunk(topic: str, chunk: Chunk | PlainChunk, *found: Any) -> list[Kept]:
    """Execute calls in order, each with its own outcome; an error of one does not touch the others."""
    worker = get_worker()
    key = cast("str", worker.get_current_task())
    station = station_of(worker)
    try:
        with COLLECTING.seldom():
            if isinstance(chunk, PlainChunk):
                return _run_plain(station, topic, key, chunk)
            return [_run(station, topic, key, index, payload, found) for index, payload in enumerate(chunk.payloads)]
    finally:
        station.done(topic, key)


def _run_plain(station: Station, topic: str, key: str, chunk: PlainChunk) -> list[Kept]:
    calls = ArrivedPlainCalls(chunk.data)
    nbytes = len(chunk.data) // len(chunk)
    return [
        _execute(station, topic, key, index, call, calls.spec_hash, calls.context_hash, nbytes, _nothing_more)
        # All of them made first: what the processor has in its caches is worth more than the memory.
        for index, call in enumerate(list(calls))
    ]


def _run(station: Station, topic: str, key: str, index: int | None, payload: Payload, found: Sequence[Any]) -> Kept:
    control, spec_hash, context_hash, needs, places, given, buffers_at, has_lifted = cast(
        "list[Any]", unpackb(payload.control)
    )
    if buffers_at is not None:
        payload = Payload(payload.control, *cast("Payload", found[buffers_at]).buffers)

    def complete(call: TaskCall) -> None:
        call.needs = [Upstream(*need) for need in needs]
        call.held = _held(places, given, found, payload)
        if has_lifted:
            call.arguments = _with_lifted(call, found)

    arrived = ArrivedCall(Envelope(control, payload.buffers))
    return _execute(station, topic, key, index, arrived, spec_hash, context_hash, payload.nbytes, complete)


def _nothing_more(call: TaskCall) -> None:
    """Leave a call as it has arrived."""


def _execute(
    station: Station,
    topic: str,
    key: str,
    index: int | None,
    arrived: ArrivedCall | ArrivedPlainCall,
    spec_hash: bytes,
    context_hash: bytes,
    nbytes: int,
    complete: Callable[[TaskCall], None],
) -> Kept:
    """Execute one call; `complete` adds what its dependencies left."""
    run = arrived.task_run
    meter = station.gauge.meter(nbytes)
    recorder = station.begin(topic, key, index, run)
    if recorder is None:
        return Kept(run.name, StateType.CANCELLED, None, ())
    ruling: Token[Any] | None = None
    try:
        # First: a function may read settings while it is rebuilt.
        context, settings = station.context(topic, context_hash)
        ruling = station.enter_settings(settings)
        call = arrived.open(
            spec=station.spec(topic, spec_hash, run.task_name),
            context=context,
            shim=station.shim,
            recorder=recorder,
        )
        complete(call)
        call.meter = meter
        call.stop = recorder.stop
        call.upcalls = station.channel(topic)
        meter.loaded()
        outcome = _through_shim(station, call)
    except WorkerLost as error:
        outcome = _without_shim(run, crashed_state(error, now=utcnow(), details=_details(run)), error.worker)
    except UnpicklableValue as error:
        outcome = _without_shim(run, _failed(error, run))
    except BaseException as error:  # an interrupt or exit that the shim let pass: the worker itself goes on
        outcome = _without_shim(run, crashed_state(error, now=utcnow(), details=_details(run)))
    recorder.stop.left()  # however it ended
    try:
        outcome.metrics = meter.read()
        return _keep(station, recorder, outcome)
    finally:
        station.leave_settings(ruling)


def _through_shim(station: Station, call: TaskCall) -> Outcome:
    if not call.spec.is_async:
        return station.shim.execute(call)
    with asyncio.Runner() as runner:
        return runner.run(station.shim.execute_async(call))


# --- inputs --------------------------------------------------------------------------------------------------


def _held(places: Sequence[Any], given: Sequence[Any], found: Sequence[Any], payload: Payload) -> dict[int, Held]:
    """Return what the upstreams left, by the keys the call knows them by.

    Raises:
        ValueLost: the values of some were lost.
        UnpicklableValue: the value of one could not leave its worker.
    """
    held: dict[int, Held] = {}
    lost: dict[int, Kept] = {}
    for upstream, dependency, index in places:
        kept = cast("Kept", found[dependency] if index is None else found[dependency][index])
        if kept.lost_worker is not None:
            # Even where this says Crashed, an outcome may have come before the worker died: the flow's process knows.
            lost[upstream] = kept
        else:
            held[upstream] = kept.held()
    if lost:
        first = next(iter(lost.values()))
        raise ValueLost(str(first.lost_worker), first.run_name, tuple(lost))
    for upstream, run_name, state_type, reference in given:
        value = take(reference, payload.buffers).load()
        held[upstream] = Held(run_name, StateType(state_type), value)
    return held


def _with_lifted(call: TaskCall, found: Sequence[Any]) -> dict[str, Any]:
    """Put the values of the user's own Dask futures where they belong."""

    def value(lifted: Lifted, _allow_failure: bool) -> Any:
        return found[lifted.dependency]

    return {name: rebuild(argument, Lifted, value) for name, argument in call.arguments.items()}


# --- outcomes ------------------------------------------------------------------------------------------------


def _keep(station: Station, recorder: CallRecorder, outcome: Outcome) -> Kept:
    """Report how a call ended; return what stays here."""
    state, run = outcome.state, outcome.task_run
    data: Any = state.data
    is_in_memory = type(data) is UnpersistedResult
    value: Any = data.get() if is_in_memory else None
    is_kept = False
    nbytes = 0
    sample: Pickled | None = None
    can_wait = False
    if state.type is StateType.COMPLETED and is_in_memory:
        is_kept, nbytes, sample = _stays(station, value)
        can_wait = is_kept or sample is not None or is_plain_scalar(value)
        if is_kept and outcome.metrics is not None:
            about = nbytes if nbytes < SAMPLE else cast("int", sizeof(value))
            outcome.metrics = outcome.metrics._replace(bytes_out=about)
    elif hasattr(data, "get") and value is None and state.type in (StateType.COMPLETED, StateType.FAILED):
        value = data.get()  # persisted: consumers on the cluster need not read it from storage
    if not is_kept and state.type is StateType.FAILED and value is None:
        value = data
    reports = station.end(recorder, outcome, is_kept=is_kept, nbytes=nbytes, value=sample, can_wait=can_wait)
    # Packing turns Completed into Failed when the value cannot leave this process.
    state = outcome.state
    if state.type is StateType.FAILED and isinstance(state.data, BaseException):
        value = state.data
    return Kept(run.name, state.type, value, reports, nbytes=nbytes, lost_worker=outcome.lost_worker)


def _stays(station: Station, value: Any) -> tuple[bool, int, Pickled | None]:
    """Say whether a value stays here only, its size as far as that is cheap to know, and its pickle if it is short.

    One that cannot be pickled is to be sent, so that its run fails at once and not in some consumer later on.
    """
    if is_plain_scalar(value):
        return False, 0, None
    try:
        sample = sampled(value, SAMPLE)
    except Exception:
        return station.is_in_process, 0, None
    if sample is None:
        return True, SAMPLE, None
    return sample.size > _INLINE, sample.size, sample


def _details(run: TaskRun) -> StateDetails:
    return StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)


def _failed(error: UnpicklableValue, run: TaskRun) -> State[Any]:
    if "ModuleNotFoundError" in error.cause:
        error = UnpicklableValue(error.what, error.type_name, error.cause + _HINT)
    text = f"Task run encountered an exception. {type(error).__name__}: {error}"
    return State(StateType.FAILED, message=text, data=error, state_details=_details(run))


def _without_shim(run: TaskRun, state: State[Any], lost_worker: str | None = None) -> Outcome:
    enter_state(run, state)
    return Outcome(run, state, [TaskRunEntered(run.id, state)], lost_worker=lost_worker)


# --- what stands for lost calls ---------------------------------------------------------------------------------


def lost_call(run_name: str, worker: str, count: int | None, *found: Any) -> Kept | list[Kept]:
    """Take the place of a call (or chunk) that was lost with its worker: user code does not run again."""
    del found
    kept = Kept(run_name, StateType.CRASHED, None, (), lost_worker=worker)
    return kept if count is None else [kept] * count


def lost_value(run_name: str, worker: str, count: int | None, *found: Any) -> Kept | list[Kept]:
    """Take the place of a value (or those of a chunk) that was lost with its worker."""
    del found
    kept = Kept(run_name, StateType.COMPLETED, None, (), lost_worker=worker)
    return kept if count is None else [kept] * count


# --- small questions that go where a value is -----------------------------------------------------------------------


def reports_of(kept: Any) -> list[tuple[list[Packed], str | None]]:
    """Return what the calls of a Dask task reported, and the worker that they were lost with."""
    items = cast("list[Kept]", kept) if isinstance(kept, list) else [cast("Kept", kept)]
    return [(list(item.reports), item.lost_worker) for item in items]


def items_of(kept: list[Kept], indices: Sequence[int]) -> list[Kept]:
    """Return what some calls of a chunk left."""
    return [kept[index] for index in indices]
