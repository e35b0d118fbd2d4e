"""Calls on their way: what the flow's process knows of each, and how it is packed for the cluster."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dask.base import get_annotations
from distributed import Future

from flowyard.containers import ATOMS, rebuild, scan
from flowyard.exceptions import UnpicklableValue
from flowyard.schemas.events import JournalEvent
from flowyard.schemas.states import StateType
from flowyard.schemas.wire_values import packb
from flowyard.task_runners.base import Handle, TaskCall
from flowyard.task_runners.envelopes import put
from flowyard.task_runners.packing import CallPacker, PackedCall, Shared
from flowyard.task_runners.pickling import Buffer, pickled_or_blame
from flowyard.task_runners.plain_calls import pack_plain_calls
from flowyard_dask.kept import Lifted, Payload, PlainChunk

LARGE = 1 << 20
"""Arguments of a call from this size on go to a worker by themselves, and not through the scheduler."""


class DaskHandle(Handle):
    """The handle of a call on Dask; as long as it lives, what the call left stays on the cluster."""

    __slots__ = ("future", "index", "key")

    def __init__(self, task_run_id: Any, key: str, index: int | None) -> None:
        super().__init__(task_run_id)
        self.key = key
        """The Dask key."""
        self.index = index
        """The place of the call in its chunk; None for a call by itself."""
        self.future: Future[Any] | None = None
        """Set when the call is sent."""


class Job:
    """A call that is not done. Who marks it as done completes its handle (see `Pending.settle`)."""

    __slots__ = ("call", "handle", "held", "is_begun", "is_done", "misses_events", "received", "start_id", "upstream")

    def __init__(self, call: TaskCall, handle: DaskHandle, upstream: Mapping[int, Handle]) -> None:
        self.call = call
        self.handle = handle
        self.upstream = upstream
        """Kept alive while the call may need them."""
        self.start_id: int | None = None
        self.received = 0
        """How many of the call's events have arrived."""
        self.misses_events = False
        self.is_begun = False
        self.is_done = False
        self.held: list[JournalEvent] = []
        """Events that the recorder refused; the engine gets them with the outcome, and the recorder's error."""


class Parcel:
    """What becomes one Dask task: one call, or a chunk."""

    __slots__ = (
        "annotations",
        "dependencies",
        "is_alone",
        "is_chunk",
        "jobs",
        "key",
        "nbytes",
        "open",
        "payloads",
        "plain",
        "shared",
        "since",
    )

    def __init__(self, key: str, annotations: dict[str, Any], *, is_chunk: bool) -> None:
        self.key = key
        self.annotations = annotations
        self.is_chunk = is_chunk
        self.jobs: list[Job] = []
        self.open = 0
        """How many of them are not done."""
        self.nbytes = 0
        """How much of it goes through the scheduler."""
        self.payloads: list[Payload] = []
        self.shared: dict[bytes, Shared] = {}
        self.dependencies: dict[str, tuple[int, Any]] = {}
        """Dask key -> its number, and what keeps it alive."""
        self.plain: PlainChunk | None = None
        """All calls in one piece, instead of the payloads."""
        self.is_alone = False
        """Sent by itself after a graph was refused."""
        self.since: float | None = None
        """When Dask was first seen to be done with it."""

    def depend_on(self, key: str, owner: Any) -> int:
        """Return the number of a dependency."""
        found = self.dependencies.get(key)
        if found is None:
            found = self.dependencies[key] = (len(self.dependencies), owner)
        return found[0]


def key_of(call: TaskCall) -> str:
    """Return the Dask key of a call: run name, run id, attempt of the flow run, attempt of the call."""
    run, flow_run = call.task_run, call.context.flow_run
    attempt = str(call.attempt) if not run.run_count else f"{call.attempt}.{run.run_count}"
    if call.resubmissions:
        attempt += f".again{call.resubmissions}"
    return f"{run.name}-{run.id.hex}-{flow_run.run_count if flow_run is not None else 0}-{attempt}"


def annotations_of(call: TaskCall) -> dict[str, Any]:
    """Return the `dask.annotate` options that hold where the call was submitted.

    `retries` is meant for errors of the function. Those are Flowyard's to repeat: it becomes the policy of the call.
    """
    context = call.user_context
    found = get_annotations() if context is None else context.copy().run(get_annotations)
    if not found:
        return {}
    found = dict(found)
    retries = found.pop("retries", None)
    run = call.task_run
    if isinstance(retries, int) and not run.policy.retries:
        run.policy = replace(run.policy, retries=retries)
    return found


def annotations_of_chunk(calls: Sequence[TaskCall]) -> dict[str, Any]:
    """Return the options of calls of one map; its `retries` become those of each call."""
    first = calls[0].task_run
    before = first.policy
    found = annotations_of(calls[0])
    if first.policy is not before:
        for call in calls:
            if call.task_run.policy is before:
                call.task_run.policy = first.policy
    return found


class Packing:
    """Packs calls into parcels. What calls share is packed once. Safe for several threads."""

    def __init__(self) -> None:
        self._packer = CallPacker()
        self._lock = threading.Lock()

    def add_plain(self, parcel: Parcel, calls: Sequence[TaskCall]) -> list[Job] | None:
        """Pack calls that depend on nothing into a parcel of their own; None when they do not go in one piece."""
        try:
            if any(self._lift(call, parcel)[1] for call in calls):
                return None
            with self._lock:
                packed = pack_plain_calls(calls, self._packer)
        except UnpicklableValue:  # one by one it is seen which
            return None
        if packed is None:
            return None
        parcel.plain = PlainChunk(packed.data, len(calls))
        parcel.nbytes = len(packed.data)
        for shared in (packed.spec, packed.context):
            parcel.shared[shared.hash] = shared
        parcel.jobs = [Job(call, DaskHandle(call.task_run.id, parcel.key, n), {}) for n, call in enumerate(calls)]
        parcel.open = len(calls)
        return parcel.jobs

    def add(self, parcel: Parcel, call: TaskCall, upstream: Mapping[int, Handle], scatter: Any) -> Job:
        """Pack a call into a parcel.

        Raises:
            UnpicklableValue: an argument or the function cannot be pickled; names it.
        """
        call, has_lifted = self._lift(call, parcel)
        with self._lock:
            packed = self._packer.pack(call)
        buffers: list[Buffer] = list(packed.envelope.buffers)
        places: list[list[Any]] = []
        given: list[list[Any]] = []
        for number, handle in upstream.items():
            if isinstance(handle, DaskHandle) and not is_gone(handle):
                places.append([number, parcel.depend_on(handle.key, handle), handle.index])
            else:
                given.append([number, *_given(handle, buffers)])
        buffers_at: int | None = None
        if sum(memoryview(buffer).nbytes for buffer in buffers) >= LARGE:
            scattered = scatter(Payload(b"", *buffers))
            if scattered is not None:
                buffers_at, buffers = parcel.depend_on(scattered.key, scattered), []
        payload = _payload(packed, call, places, given, buffers_at, has_lifted, buffers)
        handle = DaskHandle(call.task_run.id, parcel.key, len(parcel.jobs) if parcel.is_chunk else None)
        job = Job(call, handle, upstream)
        parcel.jobs.append(job)
        parcel.open += 1
        parcel.payloads.append(payload)
        parcel.nbytes += payload.nbytes
        for shared in (packed.spec, packed.context):
            parcel.shared[shared.hash] = shared
        return job

    def _lift(self, call: TaskCall, parcel: Parcel) -> tuple[TaskCall, bool]:
        """Take the user's own Dask futures out of the arguments."""
        found = [
            name
            for name, value in call.arguments.items()
            if value.__class__ not in ATOMS and (seen := scan(value, Future)) is not None and seen.items
        ]
        if not found:
            return call, False

        def lifted(future: Any, _allow_failure: bool) -> Lifted:
            return Lifted(parcel.depend_on(future.key, future))

        arguments = dict(call.arguments)
        for name in found:
            arguments[name] = rebuild(arguments[name], Future, lifted)
        changed = TaskCall(
            spec=call.spec,
            task_run=call.task_run,
            arguments=arguments,
            context=call.context,
            shim=call.shim,
            recorder=call.recorder,
            attempt=call.attempt,
            needs=call.needs,
        )
        return changed, True


def _payload(
    packed: PackedCall,
    call: TaskCall,
    places: list[list[Any]],
    given: list[list[Any]],
    buffers_at: int | None,
    has_lifted: bool,
    buffers: Sequence[Buffer],
) -> Payload:
    needs = [[need.key, need.allow_failure] for need in call.needs]
    control = [
        packed.envelope.control,
        packed.spec.hash,
        packed.context.hash,
        needs,
        places,
        given,
        buffers_at,
        has_lifted,
    ]
    return Payload(packb(control), *buffers)


def is_gone(handle: DaskHandle) -> bool:
    """Say whether what a call left is not on the cluster (any more)."""
    if handle.future is None:
        return handle.outcome is not None
    return handle.future.status in ("cancelled", "error")


def _given(handle: Handle, buffers: list[Buffer]) -> list[Any]:
    """Return an upstream that is not on the cluster: its value is sent along.

    Raises:
        MissingResult: its value is gone.
    """
    outcome = handle.outcome
    if outcome is None:
        return ["an upstream task", StateType.CANCELLED.value, put(pickled_or_blame(None, "nothing"), buffers)]
    state, name = outcome.state, outcome.task_run.name
    value = state.result(raise_on_failure=False) if state.is_final() else None
    return [name, state.type.value, put(pickled_or_blame(value, f"result of task run {name!r}"), buffers)]
