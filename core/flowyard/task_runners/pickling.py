"""Values on their way to and from other processes: cloudpickle, and what it does not do by itself.

Beyond `cloudpickle.dumps`:

- Large buffers (arrays, frames) leave the pickle and travel as they are.
- The function behind a task of an importable module is imported by the worker, not copied: it sees its module's own
  globals (connections, caches, locks), which often cannot be pickled at all.
- What a module holds that workers cannot import (a script loaded by its path, a test module) is copied.
- Exceptions keep their class and arguments whatever their constructor wants.
- Of a value that cannot be pickled, the part that is to blame is found.
"""

from __future__ import annotations

import functools
import importlib
import io
import itertools
import os
import pickle
import sys
import threading
import types
from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, cast

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]
from typing_extensions import override

from flowyard.exceptions import UnpicklableValue
from flowyard.serializers.buffers import LargeBuffers

PROTOCOL = 5
_SCALARS = frozenset({type(None), bool, int, float, str})
_DEEPEST_BLAME = 6
_WIDEST_BLAME = 1000
# Their state is in C fields that only their own constructor sets.
_BUILT_BY_INIT = (OSError, UnicodeError, SyntaxError, SystemExit, StopIteration, ImportError)

Buffer = bytes | bytearray | memoryview
_LONGEST_PLAIN_TEXT = 256


def is_plain_scalar(value: object) -> bool:
    """Say whether msgpack carries a value as it is, with its type: a scalar, or a text that is short."""
    return value.__class__ in _SCALARS and (
        value.__class__ is not str or len(cast("str", value)) <= _LONGEST_PLAIN_TEXT
    )


class Pickled(NamedTuple):
    """A value as bytes: its pickle, and the large buffers that were left out of it."""

    data: Buffer
    buffers: Sequence[Buffer] = ()

    @property
    def size(self) -> int:
        """How many bytes it is in all."""
        return len(self.data) + sum(memoryview(buffer).nbytes for buffer in self.buffers)

    def load(self) -> Any:
        """Return the value. Raises whatever user code raises while it is rebuilt."""
        return pickle.loads(self.data, buffers=self.buffers)


Reducers = Mapping[type, Callable[[Any], Any]]
"""Exact type -> how to pickle an object of it, as `__reduce__` says it."""


def pickled(value: object, *, in_one_piece: bool = False, reducers: Reducers | None = None) -> Pickled:
    """Return a value as bytes. Raises whatever pickling raises; `pickled_or_blame` says what is to blame.

    A scalar costs 0.5 microseconds, a small container 4. `in_one_piece` copies large buffers into the pickle.
    `reducers` go before what types say themselves: a cluster has references that travel beside the pickle.
    """
    if type(value) in _SCALARS:
        return Pickled(pickle.dumps(value, PROTOCOL))
    file = io.BytesIO()
    buffers = LargeBuffers()
    pickler = _Pickler(file, None if in_one_piece else buffers.keep, reducers)
    pickler.dump(value)  # pyright: ignore[reportUnknownMemberType]  cloudpickle is not typed
    return Pickled(file.getvalue(), buffers)


def sampled(value: object, most: int) -> Pickled | None:
    """Return a value as bytes, or None as soon as it is sure to be more than `most`, large buffers not counted.

    Raises whatever pickling raises: a cheap look at whether a value that stays where it is could be sent at all.
    """
    if type(value) in _SCALARS and not (type(value) is str and len(value) > most):
        return Pickled(pickle.dumps(value, PROTOCOL))
    file = _Limited(most)
    buffers: list[memoryview] = []

    def keep(buffer: pickle.PickleBuffer) -> bool:
        try:
            buffers.append(buffer.raw())
        except BufferError:
            return True
        return False

    try:
        _Pickler(file, keep).dump(value)  # pyright: ignore[reportUnknownMemberType]
    except _TooLong:
        return None
    return Pickled(file.getvalue(), buffers)


class _TooLong(Exception):
    """A pickle has become longer than wanted."""


class _Limited(io.BytesIO):
    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    @override
    def write(self, data: Any, /) -> int:
        written = super().write(data)
        if self.tell() > self._most:
            raise _TooLong
        return written


def pickled_or_blame(value: object, what: str, reducers: Reducers | None = None) -> Pickled:
    """Return a value as bytes.

    Raises:
        UnpicklableValue: it cannot be pickled; names `what` ("argument 'x' of task 'f'") and the part that is to blame.
    """
    try:
        return pickled(value, reducers=reducers)
    except Exception as error:
        path, part, cause = _find_blame(value, error)
        where = f"{path.strip()} in {what}" if path else what
        raise UnpicklableValue(where, _type_name(part), _reason(cause)) from error


def _reason(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, (TypeError, pickle.PicklingError)) and text else f"{type(error).__name__}: {text}"


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class _Pickler(cloudpickle.Pickler):
    def __init__(
        self,
        file: io.BytesIO,
        keep: Callable[[pickle.PickleBuffer], bool] | None,
        reducers: Reducers | None = None,
    ) -> None:
        if reducers:
            # The C pickler looks at it once, in its constructor.
            known = cast("MutableMapping[type, Any]", cloudpickle.Pickler.dispatch_table)
            self.dispatch_table = ChainMap({**reducers}, known)
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            file, protocol=PROTOCOL, buffer_callback=keep
        )

    def reducer_override(self, obj: Any) -> Any:
        """Return how to pickle `obj`, or NotImplemented for the usual way; called for everything but builtin types."""
        if isinstance(obj, types.FunctionType):
            home = _home_of_wrapped(obj)
            if home is not None:
                return _function_behind, home
        elif isinstance(obj, BaseException):
            return _reduce_exception(obj)
        elif not isinstance(obj, type):
            return NotImplemented
        module = getattr(obj, "__module__", None)
        if module is None or module == "__main__" or is_importable(module):
            return super().reducer_override(obj)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        with _by_value(module):
            return super().reducer_override(obj)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


# --- functions ------------------------------------------------------------------------------------------


def _home_of_wrapped(function: types.FunctionType) -> tuple[str, str] | None:
    """Return where the `Task` or `Flow` around a function can be imported; None for a function that is not in one."""
    name = function.__qualname__
    if "<locals>" in name:
        return None
    module = sys.modules.get(function.__module__)
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None or found is function or getattr(found, "fn", None) is not function:
        return None
    return (function.__module__, name) if is_importable(function.__module__) else None


def _function_behind(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found.fn


# --- modules --------------------------------------------------------------------------------------------


def is_importable(name: str) -> bool:
    """Say whether a fresh interpreter with this one's `sys.path` would find a module that is loaded here."""
    if name in sys.builtin_module_names:
        return True
    module = sys.modules.get(name)
    if module is None or name in ("__main__", "__mp_main__"):
        return False
    return _is_found(name, getattr(module, "__file__", None))


# What the answer depends on hardly ever changes, and finding out costs milliseconds.
@functools.lru_cache(4096)
def _is_found(name: str, file: str | None) -> bool:
    parent, _, _ = name.rpartition(".")
    path: Any = None
    if parent:
        if not is_importable(parent):
            return False
        path = getattr(sys.modules.get(parent), "__path__", None)
        if path is None:
            # A library that puts entries into sys.modules itself (`os.path`) does it again when its parent is imported.
            return True
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, path)
        except Exception:  # a finder of somebody else: the next one may know
            continue
        if spec is not None:
            # A module of the same name, but from another file, is another module.
            return file is None or not spec.has_location or spec.origin == file or _is_same(spec.origin, file)
    return False


def _is_same(one: str | None, other: str) -> bool:
    try:
        return one is not None and os.path.samefile(one, other)
    except OSError:
        return False


class _by_value:  # noqa: N801  reads as a statement
    """Have cloudpickle copy what one module holds, for as long as one object takes."""

    _lock = threading.Lock()

    def __init__(self, module: str) -> None:
        self._module = sys.modules.get(module)

    def __enter__(self) -> None:
        self._lock.acquire()
        known = cast("set[str]", cloudpickle.list_registry_pickle_by_value())
        self._is_ours = self._module is not None and self._module.__name__ not in known
        if self._is_ours:
            cloudpickle.register_pickle_by_value(  # pyright: ignore[reportUnknownMemberType]
                self._module
            )

    def __exit__(self, *_: object) -> None:
        try:
            if self._is_ours:
                cloudpickle.unregister_pickle_by_value(  # pyright: ignore[reportUnknownMemberType]
                    self._module
                )
        finally:
            self._lock.release()


# --- exceptions -----------------------------------------------------------------------------------------


def _reduce_exception(error: BaseException) -> Any:
    """Rebuild an exception from its class, arguments and attributes, without its constructor.

    The usual way calls the constructor with `args`: it fails, or doubles the message, for every class whose constructor
    takes something else than what it hands to `super().__init__`.
    """
    kind = type(error)
    if (
        isinstance(kind.__init__, types.FunctionType)
        and kind.__reduce__ is BaseException.__reduce__
        and kind.__reduce_ex__ is object.__reduce_ex__
        and isinstance(kind.__new__, types.BuiltinMethodType)
        and not isinstance(error, _BUILT_BY_INIT)
    ):
        return _rebuild_exception, (kind, error.args, error.__dict__ or None)
    # Not NotImplemented: `distributed` makes pickle rebuild every exception in a way that loses what C classes keep.
    return error.__reduce_ex__(PROTOCOL)


def _rebuild_exception(
    kind: type[BaseException], args: tuple[Any, ...], attributes: dict[str, Any] | None
) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    if attributes:
        error.__dict__.update(attributes)
    return error


# --- who is to blame --------------------------------------------------------------------------------------


def _find_blame(value: object, error: Exception) -> tuple[str, object, Exception]:
    """Return the path to the innermost part that cannot be pickled, that part, and why."""
    path = ""
    for _ in range(_DEEPEST_BLAME):
        for step, part in itertools.islice(_parts(value), _WIDEST_BLAME):
            try:
                pickled(part)
            except Exception as inner:
                path, value, error = path + step, part, inner
                break
        else:
            break
    return path, value, error


def _parts(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            yield f"[{key!r}]", item
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(cast("Sequence[object]", value)):
            yield f"[{number}]", item
    elif isinstance(value, (set, frozenset)):
        yield from (("{...}", item) for item in cast("Iterable[object]", value))
    elif isinstance(value, types.FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, type):
        return
    elif is_dataclass(value):
        for field in fields(value):
            yield f".{field.name}", getattr(value, field.name, None)
    else:
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            for name, item in cast("dict[str, object]", attributes).items():
                yield f".{name}", item


def _parts_of_function(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            yield f" variable {name!r}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in function.__code__.co_names:
        if name in function.__globals__ and not isinstance(function.__globals__[name], types.ModuleType):
            yield f" global {name!r}", function.__globals__[name]
    for number, default in enumerate(function.__defaults__ or ()):
        yield f" default {number}", default
