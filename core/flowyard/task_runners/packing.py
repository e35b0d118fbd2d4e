"""Task calls as bytes: what every runner with processes sends. `packing_outcomes` has the way back.

The control part is msgpack (`schemas.wire`): ids, states, times, names. Values are pickles beside it, and nobody reads
them on the way: each argument is a pickle of its own. What all calls of a task share (its function and options) and
what all calls of a flow run share (ids, deadline, settings) is shipped once to each worker, by the hash of its bytes.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, MutableMapping
from typing import Any, NamedTuple, cast

from flowyard.exceptions import UnpicklableValue
from flowyard.ports import Recorder
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.wire import VERSION, decode_flow_run, decode_task_run, encode_flow_run, encode_task_run
from flowyard.schemas.wire_values import packb, time_from_wire, time_to_wire
from flowyard.task_runners.base import CacheTicket, CallContext, Shim, TaskCall, TaskSpec, Upstream
from flowyard.task_runners.envelopes import Envelope, put, read_control, take
from flowyard.task_runners.pickling import Buffer, Pickled, Reducers, pickled, pickled_or_blame

_KEPT_SPECS = 256


# --- what calls share -------------------------------------------------------------------------------------


class Shared(NamedTuple):
    """Bytes that a worker needs once, and their hash."""

    hash: bytes
    data: bytes


def _shared(data: bytes) -> Shared:
    return Shared(hashlib.sha256(data).digest(), data)


def pack_spec(spec: TaskSpec) -> Shared:
    """Return what all calls of a task share.

    Raises:
        UnpicklableValue: the function, or something that it uses, cannot be pickled; says which.
    """
    try:
        return _shared(bytes(pickled(spec, in_one_piece=True).data))
    except Exception:
        # The parts one by one, so that the message names what the user wrote.
        for what in ("fn", "retry_condition_fn", "task_run_name", "results"):
            label = "the function" if what == "fn" else f"`{what}`"
            pickled_or_blame(getattr(spec, what), f"{label} of task {spec.name!r}")
        pickled_or_blame(spec, f"the definition of task {spec.name!r}")
        raise


def unpack_spec(data: Buffer, name: str) -> TaskSpec:
    """Return what `pack_spec` packed.

    Raises:
        UnpicklableValue: it cannot be rebuilt here, e.g. because it needs a module that is not installed.
    """
    return cast("TaskSpec", rebuilt(Pickled(data), f"the function of task {name!r}", "function"))


def pack_context(context: CallContext) -> Shared:
    """Return the context of a call."""
    flow_run = context.flow_run
    wire = [
        VERSION,
        None if flow_run is None else encode_flow_run(flow_run),
        context.flow_name,
        sorted(context.tags),
        time_to_wire(context.deadline),
        context.longest_wait_in_place,
        dict(context.settings),
        context.transaction,
        context.trace,
        context.flow_timeout_seconds,
    ]
    return _shared(packb(wire))


def unpack_context(data: Buffer) -> CallContext:
    """Return what `pack_context` packed."""
    wire = read_control(data)
    return CallContext(
        flow_run=None if wire[1] is None else decode_flow_run(wire[1]),
        flow_name=wire[2],
        tags=frozenset(wire[3]),
        deadline=time_from_wire(wire[4]),
        longest_wait_in_place=wire[5],
        settings=wire[6],
        transaction=wire[7],
        trace=wire[8],
        flow_timeout_seconds=wire[9],
    )


# --- calls ------------------------------------------------------------------------------------------------


class PackedCall(NamedTuple):
    """A call as bytes, with the shared parts that its worker must know first."""

    envelope: Envelope
    spec: Shared
    context: Shared


class CallPacker:
    """Packs calls, and packs what they share only once. Not for several threads at a time.

    Args:
        reducers: how to pickle references of a cluster that stand in arguments.
    """

    def __init__(self, reducers: Reducers | None = None) -> None:
        self.reducers = reducers
        self._specs: OrderedDict[TaskSpec, Shared] = OrderedDict()
        self._context_made: CallContext | None = None
        self._context_key: object = None
        self._of_run: object = None
        self._context: Shared | None = None

    def spec(self, spec: TaskSpec) -> Shared:
        """Return the packed spec; raises as `pack_spec` does."""
        found = self._specs.get(spec)
        if found is None:
            found = self._specs[spec] = pack_spec(spec)
            if len(self._specs) > _KEPT_SPECS:
                self._specs.popitem(last=False)
        return found

    def context(self, context: CallContext) -> Shared:
        """Return the packed context; calls of one flow run that follow each other mostly have the same."""
        flow_run = context.flow_run
        of_run = None if flow_run is None else (flow_run.state, flow_run.run_count, flow_run.name)
        if self._context is not None and context is self._context_made and of_run == self._of_run:
            return self._context  # nobody changes a context; its flow run can change
        key = (
            flow_run,
            of_run,
            context.flow_name,
            context.tags,
            context.deadline,
            context.longest_wait_in_place,
            context.transaction,
            context.trace,
            tuple(context.settings.items()),
        )
        if self._context is None or key != self._context_key:
            self._context = pack_context(context)
            self._context_key = key
        self._context_made, self._of_run = context, of_run
        return self._context

    def pack(self, call: TaskCall) -> PackedCall:
        """Return a call as bytes.

        Raises:
            UnpicklableValue: an argument or the function cannot be pickled; names it.
        """
        spec, context = self.spec(call.spec), self.context(call.context)
        buffers: list[Buffer] = []
        arguments: list[list[Any]] = []
        for name, value in call.arguments.items():
            packed = pickled_or_blame(value, f"argument {name!r} of task {call.spec.name!r}", self.reducers)
            arguments.append([name, put(packed, buffers)])
        needs = [list(upstream) for upstream in call.needs]
        control = [VERSION, spec.hash, context.hash, encode_task_run(call.task_run), call.attempt, arguments, needs]
        if call.cache is not None:
            control.append([call.cache.key, call.cache.trace])
        return PackedCall(Envelope(packb(control), buffers), spec, context)


class ArrivedCall:
    """A call that has arrived, its arguments not read yet: whose it is is known even when they cannot be read."""

    __slots__ = ("_arguments", "_buffers", "attempt", "cache", "context_hash", "needs", "spec_hash", "task_run")

    def __init__(self, envelope: Envelope) -> None:
        wire = read_control(envelope.control)
        self.spec_hash: bytes = wire[1]
        self.context_hash: bytes = wire[2]
        self.task_run: TaskRun = decode_task_run(wire[3])
        self.attempt: int = wire[4]
        self._arguments: list[list[Any]] = wire[5]
        self.needs = [Upstream(*upstream) for upstream in wire[6]]
        self.cache = CacheTicket(*wire[7]) if len(wire) > 7 else None
        self._buffers = envelope.buffers

    def open(
        self,
        *,
        spec: TaskSpec,
        context: CallContext,
        shim: Shim,
        recorder: Recorder,
        load: Callable[[Pickled], Any] = Pickled.load,
    ) -> TaskCall:
        """Return the call with its arguments; `load` rebuilds one, where `Pickled.load` does not do.

        Raises:
            UnpicklableValue: an argument cannot be rebuilt here; names it.
        """
        arguments = {
            name: rebuilt(take(reference, self._buffers), f"argument {name!r} of task {spec.name!r}", "value", load)
            for name, reference in self._arguments
        }
        return TaskCall(
            spec=spec,
            task_run=self.task_run,
            arguments=arguments,
            context=context,
            shim=shim,
            recorder=recorder,
            attempt=self.attempt,
            needs=self.needs,
            cache=self.cache,
        )


def rebuilt(value: Pickled, what: str, type_name: str, load: Callable[[Pickled], Any] = Pickled.load) -> Any:
    """Return what was pickled.

    Raises:
        UnpicklableValue: it cannot be rebuilt here; names `what` it is.
    """
    try:
        return load(value)
    except Exception as error:
        cause = f"the worker could not rebuild it: {type(error).__name__}: {error}"
        raise UnpicklableValue(what, type_name, cause) from error


def pack_call(call: TaskCall, known_specs: set[bytes] | None = None, packer: CallPacker | None = None) -> bytes:
    """Return a call in one piece, for runners that move bytes.

    The function is left out when its hash is in `known_specs`, and its hash is added there. A `packer` that is kept
    packs what calls share only once.

    Raises:
        UnpicklableValue: an argument or the function cannot be pickled; names it.
    """
    packed = (packer or CallPacker()).pack(call)
    is_known = known_specs is not None and packed.spec.hash in known_specs
    if known_specs is not None:
        known_specs.add(packed.spec.hash)
    control = packb([VERSION, packed.envelope.control, None if is_known else packed.spec.data, packed.context.data])
    return Envelope(control, packed.envelope.buffers).to_bytes()


def unpack_call(data: Buffer, specs: MutableMapping[bytes, TaskSpec], *, shim: Shim, recorder: Recorder) -> TaskCall:
    """Return the call that `pack_call` packed; `specs` keeps the functions that have come before, by hash.

    Raises:
        UnpicklableValue: an argument or the function cannot be rebuilt here; names it.
        LookupError: the function was left out, and is not in `specs`.
    """
    envelope = Envelope.from_bytes(data)
    _, control, spec_data, context = read_control(envelope.control)
    arrived = ArrivedCall(Envelope(control, envelope.buffers))
    spec = specs.get(arrived.spec_hash)
    if spec is None:
        if spec_data is None:
            raise LookupError(
                f"the function of task run {arrived.task_run.name!r} was never sent here; "
                "pack the call again without its hash in `known_specs`"
            )
        spec = specs[arrived.spec_hash] = unpack_spec(spec_data, arrived.task_run.task_name)
    return arrived.open(spec=spec, context=unpack_context(context), shim=shim, recorder=recorder)
