"""Values that stay on the cluster, and the references to them.

A call leaves a `Kept` in Ray's object store: how it ended, and its value as a pickle whose large buffers Ray maps into
the processes that read it. Ray would pickle the value too, but does not know what `task_runners.pickling` does (modules
that workers cannot import, exceptions, who is to blame).
"""

from __future__ import annotations

import contextlib
import io
import pickle
import threading
from collections.abc import Callable, Sequence
from typing import Any, cast

from ray.actor import ActorHandle
from ray.exceptions import RayError

from flowyard.exceptions import MissingResult, RemoteException, UnpicklableValue
from flowyard.schemas.states import StateType
from flowyard.schemas.wire_values import packb, unpackb
from flowyard.serializers.buffers import LARGE
from flowyard.task_runners.base import Held, Outcome
from flowyard.task_runners.packing_errors import describe
from flowyard.task_runners.packing_outcomes import RemoteResult, fail_unpicklable
from flowyard.task_runners.pickling import Buffer, Pickled, Reducers, pickled_or_blame
from flowyard_ray.api import ray

_UNREAD = object()
_MARK = "native_reference"


def native_reference(number: int) -> Any:
    """Stand in a pickle for a reference of Ray that travels beside it; `load` finds the reference."""
    raise UnpicklableValue("a reference of Ray", "reference", f"number {number} was read outside of Ray")


class Natives:
    """Collects the references of Ray in values while they are pickled: only Ray's own pickler keeps them alive."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.reducers: Reducers = dict.fromkeys(_reference_types(), self._take)

    def _take(self, reference: Any) -> tuple[Callable[[int], Any], tuple[int]]:
        self.found.append(reference)
        return native_reference, (len(self.found) - 1,)

    def take_all(self) -> list[Any]:
        """Return what was found, and begin anew."""
        taken = list(self.found)
        self.found.clear()
        return taken


def _reference_types() -> list[type]:
    types: list[type] = [ray.ObjectRef, ActorHandle]
    try:
        # Needs grpc, which only `ray[client]` brings along.
        from ray.util.client.common import ClientActorHandle, ClientObjectRef  # noqa: PLC0415
    except ImportError:
        return types
    return [*types, ClientObjectRef, ClientActorHandle]


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: Pickled, natives: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(data.data), buffers=data.buffers)
        self._natives = natives

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if global_name == _MARK and module_name == __name__:
            return self._natives.__getitem__
        return super().find_class(module_name, global_name)


def load(data: Pickled, natives: Sequence[Any]) -> Any:
    """Return a pickled value. Raises whatever user code raises while it is rebuilt."""
    return _Unpickler(data, natives).load() if natives else data.load()


class Kept:
    """What a call leaves in Ray's object store."""

    __slots__ = ("data", "is_missing", "is_stored", "natives", "run_name", "state_type")

    def __init__(
        self,
        run_name: str,
        state_type: StateType,
        data: Pickled | None = None,
        natives: Sequence[Any] = (),
        *,
        is_missing: bool = False,
        is_stored: bool = False,
    ) -> None:
        self.run_name = run_name
        self.state_type = state_type
        self.data = data
        """The value or the exception; None stands for None."""
        self.natives = natives
        self.is_missing = is_missing
        """The run completed, and its value was not kept."""
        self.is_stored = is_stored
        """`data` is the handle of a value in result storage."""

    @property
    def size(self) -> int | None:
        """How many bytes a value takes; None when there is none."""
        return self.data.size if self.data is not None and self.state_type is StateType.COMPLETED else None

    def value(self) -> Any:
        """Return the value.

        Raises:
            MissingResult: it was not kept.
            UnpicklableValue: it cannot be rebuilt here.
        """
        if self.is_missing:
            raise MissingResult(f"the value of task run {self.run_name!r} was not kept; pass `persist_result=True`")
        if self.data is None:
            return None
        try:
            value = load(self.data, self.natives)
        except Exception as error:
            cause = f"it cannot be rebuilt here: {type(error).__name__}: {error}"
            raise UnpicklableValue(f"result of task run {self.run_name!r}", "value", cause) from error
        return value.get() if self.is_stored else value

    def held(self) -> Held:
        """Return what a call that depends on this is given; raises as `value` does."""
        return Held(self.run_name, self.state_type, self.value())

    @property
    def is_plain(self) -> bool:
        """Whether it has neither references nor buffers of its own: then it is a few bytes (`to_wire`)."""
        return not self.natives and (self.data is None or self.data.size < LARGE)

    def to_wire(self) -> list[Any]:
        """Return plain data, of one that `is_plain`."""
        data = None if self.data is None else self.data.data
        return [self.run_name, self.state_type.value, data, self.is_missing, self.is_stored]

    @classmethod
    def from_wire(cls, wire: list[Any]) -> Kept:
        """Read what `to_wire` returned."""
        run_name, state_type, data, is_missing, is_stored = wire
        packed = None if data is None else Pickled(data)
        return cls(run_name, StateType(state_type), packed, is_missing=is_missing, is_stored=is_stored)

    def __reduce__(self) -> tuple[Any, ...]:
        data, buffers = (None, ()) if self.data is None else self.data
        return _arrived, (
            (self.run_name, self.state_type.value, list(self.natives), self.is_missing, self.is_stored),
            data if data is None or len(data) < LARGE else pickle.PickleBuffer(data),
            *map(pickle.PickleBuffer, buffers),
        )


def _arrived(state: tuple[Any, ...], data: Buffer | None, *buffers: Buffer) -> Kept:
    run_name, state_type, natives, is_missing, is_stored = state
    packed = None if data is None else Pickled(data, buffers)
    return Kept(run_name, StateType(state_type), packed, natives, is_missing=is_missing, is_stored=is_stored)


def keep(outcome: Outcome, natives: Natives) -> Kept:
    """Return what stays of an outcome. One whose value cannot be pickled becomes Failed, and says what is to blame."""
    run = outcome.task_run
    if outcome.state.is_completed():
        try:
            data = pickled_or_blame(_value_of(outcome), f"result of task {run.task_name!r}", natives.reducers)
        except MissingResult:
            return Kept(run.name, outcome.state.type, is_missing=True)
        except UnpicklableValue as error:
            natives.take_all()
            fail_unpicklable(outcome, error)
        else:
            return Kept(run.name, outcome.state.type, data, natives.take_all())
    if not outcome.state.is_failed():
        return Kept(run.name, outcome.state.type)
    error = _value_of(outcome)
    try:
        data = pickled_or_blame(error, "the exception", natives.reducers)
    except UnpicklableValue:
        natives.take_all()
        data = pickled_or_blame(RemoteException(*describe(error)), "the exception")
    return Kept(run.name, outcome.state.type, data, natives.take_all())


def stand_in_for(outcome: Outcome) -> Kept | None:
    """Return what consumers get when Ray has nothing for them; None when the value of a completed run is lost."""
    run, state = outcome.task_run, outcome.state
    if not (state.is_completed() or state.is_failed()):
        return Kept(run.name, state.type)
    data = state.data
    if state.is_completed():
        record = data.to_record() if hasattr(data, "to_record") else None
        if record is None or record["type"] == "unpersisted":
            return None
        # A persisted value is read where it is needed; what travels is its handle.
        handle = data.handle() if isinstance(data, RemoteResult) else data
        return Kept(run.name, state.type, pickled_or_blame(handle, "the result handle"), is_stored=True)
    return keep(outcome, Natives())


def _value_of(outcome: Outcome) -> Any:
    data = outcome.state.data
    return data.get() if hasattr(data, "to_record") else data


KeptList = bytes | list[Kept]


def pack_kept(kept: list[Kept]) -> KeptList:
    """Return what calls leave as bytes, which Ray need not pickle, unless references or buffers are in there."""
    return packb([one.to_wire() for one in kept]) if all(one.is_plain for one in kept) else kept


def unpack_kept(kept: KeptList) -> list[Kept]:
    """Return what calls left."""
    return [Kept.from_wire(wire) for wire in unpackb(kept)] if isinstance(kept, bytes) else kept


class Place:
    """Where the values of one piece of work are: a reference that lives as long as somebody may need a value."""

    __slots__ = ("__weakref__", "reference")

    def __init__(self) -> None:
        self.reference: Any = None
        """An object reference to a list of `Kept`; None until the work was sent."""


class RayResult:
    """A `ResultHandle` of a value in Ray's object store: it comes to this process when it is asked for.

    A small value of a batch may be here before the batch is done: `place` is what came then.
    """

    __slots__ = ("__weakref__", "_index", "_lock", "_place", "_run_name", "_value")

    def __init__(self, place: Place | Kept, index: int, run_name: str) -> None:
        self._place: Place | Kept | None = place
        self._index = index
        self._run_name = run_name
        self._lock = threading.Lock()
        self._value: Any = _UNREAD

    def get(self) -> Any:
        """Return the value.

        Raises:
            MissingResult: it was not kept, or was lost with the node that held it.
            UnpicklableValue: it cannot be rebuilt in this process, e.g. because a module is missing here.
        """
        with self._lock:
            if self._value is _UNREAD:
                if self._place is None:
                    raise MissingResult(
                        f"the value of task run {self._run_name!r} was on a Ray cluster that this process has left; "
                        "ask for it before, or pass `persist_result=True`"
                    )
                if isinstance(self._place, Kept):
                    self._value = self._place.value()
                    return self._value
                try:
                    kept = cast("KeptList", ray.get(self._place.reference))
                except (RayError, ConnectionError) as error:
                    raise MissingResult(
                        f"the value of task run {self._run_name!r} was lost on the Ray cluster: {_first_line(error)}; "
                        "pass `persist_result=True` to keep values in result storage"
                    ) from error
                self._value = unpack_kept(kept)[self._index].value()
        return self._value

    @property
    def is_on_cluster(self) -> bool:
        """Whether the value is nowhere but on the cluster, and can be lost with a node of it."""
        return self._value is _UNREAD and isinstance(self._place, Place)

    def come_home(self) -> None:
        """Read the value while there is a connection, and let go of the cluster. Never raises."""
        with contextlib.suppress(Exception):  # whoever asks for it later is told
            self.get()
        with self._lock:
            self._place = None

    def to_record(self) -> dict[str, Any]:
        """Return what the state backend stores."""
        return {"type": "unpersisted"}

    def __repr__(self) -> str:
        state = "on the cluster" if self._value is _UNREAD else f"a {type(self._value).__name__}"
        return f"RayResult({self._run_name!r}, {state})"

    def __reduce__(self) -> tuple[Any, ...]:
        # It goes where the reference may mean nothing: the value goes along.
        return _read, (self.get(), self._run_name)


def _read(value: Any, run_name: str) -> RayResult:
    result = RayResult(Place(), 0, run_name)
    result._value = value  # pyright: ignore[reportPrivateUsage]
    return result


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
