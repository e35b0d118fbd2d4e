"""What travels to the cluster and what stays there.

A packed call travels as `Payload`: bytes that nobody reads on the way, the scheduler included. What a call leaves on
its worker is `Kept`: its value, how it ended, and what it reported, for the case that the reports get lost.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from dask.sizeof import sizeof

from flowyard.exceptions import UnpicklableValue
from flowyard.schemas.states import StateType
from flowyard.task_runners.base import Held
from flowyard.task_runners.pickling import Buffer, Pickled, pickled_or_blame
from flowyard_dask.reports import Packed, size_of

_KEPT_OVERHEAD = 200


class Lifted(NamedTuple):
    """Stands in the arguments of a call for a Dask future that the user passed; the number is the dependency's."""

    dependency: int


class Payload:
    """A packed call, or an argument that is too large to travel with one."""

    __slots__ = ("buffers", "control")

    def __init__(self, control: Buffer, *buffers: Buffer) -> None:
        self.control = control
        self.buffers = buffers

    @property
    def nbytes(self) -> int:
        """How many bytes it is in all."""
        return sum(memoryview(part).nbytes for part in (self.control, *self.buffers))

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return Payload, (bytes(self.control), *map(pickle.PickleBuffer, self.buffers))


class Chunk:
    """The packed calls of a chunk; without large arguments, one piece of bytes that is quick to pass on."""

    __slots__ = ("payloads",)

    def __init__(self, payloads: Sequence[Payload]) -> None:
        self.payloads = payloads

    def __len__(self) -> int:
        return len(self.payloads)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if any(payload.buffers for payload in self.payloads):
            return Chunk, (list(self.payloads),)
        return _chunk_of, ([bytes(payload.control) for payload in self.payloads],)


def _chunk_of(controls: Sequence[bytes]) -> Chunk:
    return Chunk([Payload(control) for control in controls])


class PlainChunk:
    """Calls that differ in their arguments only, packed in one piece (see `flowyard.task_runners.plain_calls`)."""

    __slots__ = ("count", "data")

    def __init__(self, data: bytes, count: int) -> None:
        self.data = data
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return PlainChunk, (self.data, self.count)


class Kept:
    """What a call leaves on its worker. Its value is pickled when it leaves the worker, and read when asked for."""

    __slots__ = ("_lock", "_pickled", "_value", "lost_worker", "nbytes", "reports", "run_name", "state_type")

    def __init__(
        self,
        run_name: str,
        state_type: StateType,
        value: Any,
        reports: Sequence[Packed],
        *,
        nbytes: int = 0,
        lost_worker: str | None = None,
    ) -> None:
        self.run_name = run_name
        self.state_type = state_type
        self.reports = reports
        """All that the call has reported, in order: the authority when messages were lost."""
        self.nbytes = nbytes
        self.lost_worker = lost_worker
        """Set when this stands for a call, or the value of a call, that was lost with a worker."""
        self._value = value
        self._pickled: Pickled | None = None
        self._lock = threading.Lock()

    def value(self) -> Any:
        """Return the value.

        Raises:
            UnpicklableValue: it could not leave the worker where it was made, or cannot be rebuilt here.
        """
        with self._lock:
            if self._pickled is not None:
                try:
                    self._value = self._pickled.load()
                except Exception as error:
                    cause = f"it cannot be rebuilt here: {type(error).__name__}: {error}"
                    self._value = UnpicklableValue(f"result of task run {self.run_name!r}", "value", cause)
                self._pickled = None
            if isinstance(self._value, _Unsendable):
                raise self._value.error
        return self._value

    def held(self) -> Held:
        """Return what a call that depends on this is given."""
        return Held(self.run_name, self.state_type, self.value())

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        with self._lock:
            packed, value = self._pickled, self._value
        if packed is None:
            what = f"result of task run {self.run_name!r}"
            try:
                packed = pickled_or_blame(value, what)
            except UnpicklableValue as error:
                # Raising here would leave Dask trying for ever: who asks for the value is told instead.
                packed = pickled_or_blame(_Unsendable(error), what)
        state = (self.run_name, self.state_type.value, list(self.reports), self.nbytes, self.lost_worker)
        return _arrived, (state, packed.data, *map(pickle.PickleBuffer, packed.buffers))


class _Unsendable:
    __slots__ = ("error",)

    def __init__(self, error: UnpicklableValue) -> None:
        self.error = error


def _arrived(state: tuple[Any, ...], data: Buffer, *buffers: Buffer) -> Kept:
    run_name, state_type, reports, nbytes, lost_worker = state
    kept = Kept(run_name, StateType(state_type), None, reports, nbytes=nbytes, lost_worker=lost_worker)
    kept._pickled = Pickled(data, buffers)  # pyright: ignore[reportPrivateUsage]
    return kept


# Dask decides by these sizes where calls go and when values are written to disk.
@sizeof.register(Kept)  # pyright: ignore[reportUntypedFunctionDecorator, reportUnknownMemberType]
def _size_of_kept(kept: Kept) -> int:
    packed = kept._pickled  # pyright: ignore[reportPrivateUsage]
    size = packed.size if packed is not None else cast("int", sizeof(kept._value))  # pyright: ignore[reportPrivateUsage]
    return size + sum(map(size_of, kept.reports)) + _KEPT_OVERHEAD


@sizeof.register(Payload)  # pyright: ignore[reportUntypedFunctionDecorator, reportUnknownMemberType]
def _size_of_payload(payload: Payload) -> int:
    return payload.nbytes + _KEPT_OVERHEAD


@sizeof.register(Chunk)  # pyright: ignore[reportUntypedFunctionDecorator, reportUnknownMemberType]
def _size_of_chunk(chunk: Chunk) -> int:
    return sum(map(_size_of_payload, chunk.payloads))


@sizeof.register(PlainChunk)  # pyright: ignore[reportUntypedFunctionDecorator, reportUnknownMemberType]
def _size_of_plain_chunk(chunk: PlainChunk) -> int:
    return len(chunk.data) + _KEPT_OVERHEAD
