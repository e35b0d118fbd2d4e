"""Find and replace objects inside nested containers.

Looks into lists, tuples, sets, dicts (keys too), dataclasses, pydantic models and annotations; never into strings,
bytes, arrays, data frames, files or anything else. A scalar costs about 0.1 microseconds, a list of scalars 0.5 and
about 20 ns an item (every argument of every task call passes here; `benchmarks` measures it with the calls).
"""

from __future__ import annotations

import copy
import dataclasses
import decimal
import enum
import functools
import types
import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, TypeAlias, cast

from flowyard.annotations import BaseAnnotation, allow_failure, quote

Wanted: TypeAlias = "type[Any] | tuple[type[Any], ...]"
Replace: TypeAlias = Callable[[Any, bool], Any]

ATOMS: frozenset[type[Any]] = frozenset(
    {
        *(int, float, complex, bool, str, bytes, bytearray, memoryview, range, slice, type, object),
        *(type(None), type(NotImplemented), type(...)),
        *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType),
        *(datetime, date, time, timedelta, timezone, decimal.Decimal, uuid.UUID),
    }
)
"""Exact types that hold nothing: the caller may skip `scan` for them."""


class _Kind(enum.Enum):
    """How a container's items are reached and replaced."""

    LIST = enum.auto()
    TUPLE = enum.auto()
    SET = enum.auto()
    DICT = enum.auto()
    DATACLASS = enum.auto()
    MODEL = enum.auto()
    ANNOTATION = enum.auto()


_LIST, _TUPLE, _SET, _DICT = _Kind.LIST, _Kind.TUPLE, _Kind.SET, _Kind.DICT
_DATACLASS, _MODEL, _ANNOTATION = _Kind.DATACLASS, _Kind.MODEL, _Kind.ANNOTATION


@functools.lru_cache(maxsize=1024)  # classes are few; the bound keeps classes made on the fly from piling up
def _kind_of(cls: type[Any]) -> _Kind | None:
    if issubclass(cls, enum.Enum):
        return None
    if issubclass(cls, list):
        return _LIST
    if issubclass(cls, dict):
        return _DICT
    if issubclass(cls, tuple):
        # time.struct_time and its like cannot be made from their items
        return None if "n_sequence_fields" in cast("type[Any]", cls).__dict__ else _TUPLE
    if issubclass(cls, (set, frozenset)):
        return _SET
    if issubclass(cls, BaseAnnotation):
        return _ANNOTATION
    if dataclasses.is_dataclass(cls):
        return _DATACLASS
    # pydantic is slow to import and may never be: a model tells itself by its attributes (the second is version 1's)
    if hasattr(cls, "__pydantic_fields_set__") or hasattr(cls, "__fields_set__"):
        return _MODEL
    return None


@functools.lru_cache(maxsize=1024)
def _field_names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


@dataclasses.dataclass(slots=True)
class Found:
    """What `scan` met in a value."""

    items: list[tuple[Any, bool]] = dataclasses.field(default_factory=list[tuple[Any, bool]])
    """The objects, in the order of reading, each with whether it stood inside `allow_failure`."""
    annotated: bool = False
    """There are annotations, which `rebuild` takes away even where it replaces nothing."""


def scan(value: Any, wanted: Wanted) -> Found | None:
    """Return the objects of the wanted types inside a value; None when there is nothing for `rebuild` to do.

    An object is reported once for every place it stands in (a container that stands in several places is read once).
    What `quote` surrounds is not looked at.
    """
    if value.__class__ in ATOMS:
        return None
    found: Found | None = None
    seen: dict[tuple[int, bool], Any] = {}  # keeps what it names alive, so that no id is used twice
    # A stack of our own: depth is the user's, and must not end in a RecursionError.
    stack: list[tuple[Any, bool]] = [(value, False)]
    while stack:
        value, allowed = stack.pop()
        if isinstance(value, wanted):
            if found is None:
                found = Found()
            found.items.append((value, allowed))
            continue
        kind = _kind_of(value.__class__)
        if kind is None:
            continue
        if kind is _ANNOTATION:
            if found is None:
                found = Found()
            found.annotated = True
            value, allowed, quoted = _peel(value, allowed)
            if not quoted:
                stack.append((value, allowed))
            continue
        children = _children(value, kind)
        if not children or ATOMS.issuperset(map(type, children)):
            continue
        key = (id(value), allowed)
        if key in seen:
            continue
        seen[key] = value
        stack.extend([(child, allowed) for child in reversed(children) if child.__class__ not in ATOMS])
    return found


def rebuild(value: Any, wanted: Wanted, replace: Replace) -> Any:
    """Return the value with every wanted object replaced by ``replace(object, inside_allow_failure)``.

    Annotations are taken away (``quote(x)`` becomes `x`, unseen). A container in which nothing was replaced is returned
    as it is, not copied; others become copies of the same type, and the originals are not touched.

    Raises:
        TypeError: a replacement stands in a set or as a key of a dict, and cannot be hashed.
    """
    if value.__class__ in ATOMS:
        return value
    rebuilder = _Rebuilder(wanted, replace)
    rebuilt = rebuilder.visit(value, False)
    return rebuilt if rebuilder.changed else value


def _peel(value: Any, allowed: bool) -> tuple[Any, bool, bool]:
    """Take off all annotations directly around a value; return it, whether failure is allowed, whether it is quoted."""
    quoted = False
    while isinstance(value, BaseAnnotation):
        if isinstance(value, quote):
            quoted = True
        elif isinstance(value, allow_failure):
            allowed = True
        value = cast("BaseAnnotation[Any]", value).value
    return value, allowed, quoted


_ABSENT = object()


def _children(value: Any, kind: _Kind) -> Sequence[Any]:
    if kind is _LIST or kind is _TUPLE:
        return value
    if kind is _DICT:
        return [*value.keys(), *value.values()]
    if kind is _SET:
        return list(value)
    if kind is _DATACLASS:
        return [getattr(value, name, None) for name in _field_names(value.__class__)]
    fields: dict[str, Any] = value.__dict__
    extra: dict[str, Any] = getattr(value, "__pydantic_extra__", None) or {}
    return [*fields.values(), *extra.values()]


class _Rebuilder:
    """One walk of `rebuild`: recursive, because only containers that hold something are walked twice."""

    def __init__(self, wanted: Wanted, replace: Replace) -> None:
        self.wanted = wanted
        self.replace = replace
        self.changed = False
        self.done: dict[tuple[int, bool], tuple[Any, Any]] = {}
        # Mutable containers that are being walked, with the copy that something inside them referred to.
        self.open: dict[tuple[int, bool], Any] = {}

    def visit(self, value: Any, allowed: bool) -> Any:
        if value.__class__ in ATOMS:
            return value
        if isinstance(value, self.wanted):
            self.changed = True
            return self.replace(value, allowed)
        kind = _kind_of(value.__class__)
        if kind is None:
            return value
        if kind is _ANNOTATION:
            self.changed = True
            value, allowed, quoted = _peel(value, allowed)
            return value if quoted else self.visit(value, allowed)
        key = (id(value), allowed)
        if key in self.done:
            return self.done[key][1]
        if kind is _TUPLE or isinstance(value, frozenset):
            # Every cycle passes through something mutable, so these need no place among the open ones.
            rebuilt = self._immutable(value, allowed)
        elif key in self.open:
            if self.open[key] is None:
                self.open[key] = copy.copy(value)
            return self.open[key]
        else:
            self.open[key] = None
            rebuilt = self._mutable(value, kind, allowed, key)
            del self.open[key]
        self.done[key] = (value, rebuilt)
        return rebuilt

    def _immutable(self, value: Any, allowed: bool) -> Any:
        items = list(value)
        rebuilt = self._items(items, allowed)
        if rebuilt is items:
            return value
        cls = value.__class__
        base: Any = tuple if issubclass(cls, tuple) else frozenset
        made = _hashing(
            value, lambda: base.__new__(cls, rebuilt)
        )  # past a `__new__` with other arguments (named tuples)
        if attributes := getattr(value, "__dict__", None):
            made.__dict__.update(attributes)
        return made

    def _mutable(self, value: Any, kind: _Kind, allowed: bool, key: tuple[int, bool]) -> Any:
        if kind is _LIST:
            rebuilt = self._items(value, allowed)
            if rebuilt is value and self.open[key] is None:
                return value
            if value.__class__ is list and self.open[key] is None:
                return rebuilt
            made = self._copy(value, key)
            cast("type[list[Any]]", list).__setitem__(made, slice(None), rebuilt)
            return made
        if kind is _DICT:
            return self._dict(value, allowed, key)
        if kind is _SET:
            items = list(value)
            rebuilt = self._items(items, allowed)
            if rebuilt is items and self.open[key] is None:
                return value
            made = self._copy(value, key)
            made.clear()
            _hashing(value, lambda: made.update(rebuilt))
            return made
        if kind is _DATACLASS:
            return self._dataclass(value, allowed, key)
        return self._model(value, allowed, key)

    def _dict(self, value: dict[Any, Any], allowed: bool, key: tuple[int, bool]) -> Any:
        old_keys, old_values = list(value.keys()), list(value.values())
        new_keys, new_values = self._items(old_keys, allowed), self._items(old_values, allowed)
        if new_keys is old_keys and new_values is old_values and self.open[key] is None:
            return value
        made = self._copy(value, key)
        if new_keys is not old_keys:
            made.clear()  # refilled in the same order
        for name, item in zip(new_keys, new_values, strict=True):
            _hashing(value, functools.partial(made.__setitem__, name, item))
        return made

    def _dataclass(self, value: Any, allowed: bool, key: tuple[int, bool]) -> Any:
        changes: dict[str, Any] = {}
        for name in _field_names(value.__class__):
            item = getattr(value, name, _ABSENT)
            rebuilt = self.visit(item, allowed)
            if rebuilt is not item:
                changes[name] = rebuilt
        if not changes and self.open[key] is None:
            return value
        made = self._copy(value, key)
        for name, item in changes.items():
            object.__setattr__(made, name, item)  # frozen ones too; neither `__init__` nor `__post_init__` runs again
        return made

    def _model(self, value: Any, allowed: bool, key: tuple[int, bool]) -> Any:
        fields: dict[str, Any] = dict(value.__dict__)
        extra: dict[str, Any] = getattr(value, "__pydantic_extra__", None) or {}
        new_fields = {name: self.visit(item, allowed) for name, item in fields.items()}
        new_extra = {name: self.visit(item, allowed) for name, item in extra.items()}
        same = all(new_fields[name] is item for name, item in fields.items()) and all(
            new_extra[name] is item for name, item in extra.items()
        )
        if same and self.open[key] is None:
            return value
        made = self._copy(value, key)
        # Not through the model's own setter, which may refuse (frozen) or validate.
        object.__setattr__(made, "__dict__", new_fields)
        if extra:
            object.__setattr__(made, "__pydantic_extra__", new_extra)
        return made

    def _copy(self, value: Any, key: tuple[int, bool]) -> Any:
        made = self.open[key]
        return copy.copy(value) if made is None else made

    def _items(self, items: Any, allowed: bool) -> Any:
        """Return the items rebuilt, or the very same list when none of them changed."""
        visit = self.visit
        rebuilt: list[Any] | None = None
        for index, item in enumerate(items):
            if item.__class__ in ATOMS:
                continue
            new = visit(item, allowed)
            if new is not item:
                if rebuilt is None:
                    rebuilt = list(items)
                rebuilt[index] = new
        return items if rebuilt is None else rebuilt


def _hashing(container: Iterable[Any], fill: Callable[[], Any]) -> Any:
    try:
        return fill()
    except TypeError as error:
        raise TypeError(
            f"a value that takes the place of a future in a {type(container).__name__} cannot be hashed: {error}; "
            "pass the futures in a list, or as values of a dict"
        ) from error
