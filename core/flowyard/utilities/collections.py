"""Small tools for collections, under the names that Prefect 2 has for them."""

from __future__ import annotations

import copy
import dataclasses
import enum
import io
import itertools
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from typing import Any, TypeGuard, TypeVar, cast, overload

from flowyard.annotations import BaseAnnotation

T = TypeVar("T")
KT = TypeVar("KT")
VT = TypeVar("VT")

VisitFn = Callable[[Any], Any] | Callable[[Any, dict[str, Any]], Any]


class AutoEnum(str, enum.Enum):  # noqa: UP042  `str()` of a StrEnum would be the value, not `Colour.RED`
    """An enum whose values are the names of its members: ``RED = AutoEnum.auto()`` is ``"RED"``."""

    @staticmethod
    def _generate_next_value_(name: str, start: int, count: int, last_values: list[Any]) -> str:
        del start, count, last_values
        return name

    @staticmethod
    def auto() -> Any:
        """Return what stands for "my name" in the body of the class."""
        return enum.auto()

    def __repr__(self) -> str:
        return f"{type(self).__name__}.{self.value}"


def dict_to_flatdict(dct: Mapping[KT, Any], _parent: tuple[KT, ...] = ()) -> dict[tuple[KT, ...], Any]:
    """Return a dict of dicts as one dict whose keys are the paths; an empty dict stays as a value."""
    flat: dict[tuple[KT, ...], Any] = {}
    for key, value in dct.items():
        path = (*_parent, key)
        if isinstance(value, dict) and value:
            flat.update(dict_to_flatdict(cast("dict[KT, Any]", value), path))
        else:
            flat[path] = value
    return flat


def flatdict_to_dict(dct: Mapping[tuple[KT, ...], VT]) -> dict[KT, Any]:
    """Return the dict of dicts that `dict_to_flatdict` made flat.

    Raises:
        ValueError: a path is empty, or goes on behind a value.
    """
    nested: dict[KT, Any] = {}
    for path, value in dct.items():
        if not path:
            raise ValueError(f"dct has an empty path, for {value!r}: every value needs a key")
        level = nested
        for key in path[:-1]:
            inner: Any = level.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ValueError(  # noqa: TRY004  the types are right, the paths contradict each other
                    f"the path {path!r} goes on behind {key!r}, which has the value {inner!r}"
                )
            level = cast("dict[KT, Any]", inner)
        level[path[-1]] = dict(cast("dict[Any, Any]", value)) if isinstance(value, dict) else value
    return nested


def isiterable(obj: object) -> TypeGuard[Iterable[Any]]:
    """Say whether an object is a collection: iterable, and neither text, bytes nor a file."""
    return isinstance(obj, Iterable) and not isinstance(obj, (str, bytes, bytearray, io.IOBase))


@overload
def ensure_iterable(obj: str) -> Iterable[str]: ...  # pyright: ignore[reportOverlappingOverload]  text is one item
@overload
def ensure_iterable(obj: Iterable[T]) -> Iterable[T]: ...
@overload
def ensure_iterable(obj: T) -> Iterable[T]: ...


def ensure_iterable(obj: object) -> Iterable[Any]:
    """Return a collection as it is, and anything else (text too) in a list."""
    return obj if isiterable(obj) else [obj]


def listrepr(objs: Iterable[object], sep: str = " ") -> str:
    """Return the `repr` of every object, joined."""
    return sep.join(repr(obj) for obj in objs)


@overload
def extract_instances(objects: Iterable[object], types: type[T]) -> list[T]: ...
@overload
def extract_instances(objects: Iterable[object], types: tuple[type[T], ...]) -> dict[type[T], list[T]]: ...
@overload
def extract_instances(objects: Iterable[T]) -> list[T]: ...


def extract_instances(objects: Iterable[Any], types: type[Any] | tuple[type[Any], ...] = object) -> Any:
    """Return the objects of a type; of several types, a list for each type that there is an object of.

    An object that is of several of the types is put under the first of them.
    """
    if not isinstance(types, tuple):
        return [obj for obj in objects if isinstance(obj, types)]
    found: dict[type[Any], list[Any]] = {}
    for obj in objects:
        kind = next((each for each in types if isinstance(obj, each)), None)
        if kind is not None:
            found.setdefault(kind, []).append(obj)
    return found


def batched_iterable(iterable: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Return an iterator over tuples of `size` items; the last one may be shorter. Items are taken as needed.

    Raises:
        ValueError: `size` is less than 1.
    """
    if size < 1:
        raise ValueError(f"size={size!r} must be at least 1")
    items = iter(iterable)
    return iter(lambda: tuple(itertools.islice(items, size)), ())


def distinct(iterable: Iterable[T], key: Callable[[T], Hashable] | None = None) -> Generator[T, None, None]:
    """Yield the items whose key was not there before, in order; the key of an item is the item itself."""
    seen: set[Any] = set()
    for item in iterable:
        mark = item if key is None else key(item)
        if mark not in seen:
            seen.add(mark)
            yield item


def remove_nested_keys(keys_to_remove: Iterable[Hashable], obj: T) -> T:
    """Return a copy of a dict, and of the dicts in it, without the given keys; anything else as it is."""
    if not isinstance(obj, dict):
        return obj
    unwanted = frozenset(keys_to_remove)
    items = cast("dict[Any, Any]", obj).items()
    return cast("T", {key: remove_nested_keys(unwanted, value) for key, value in items if key not in unwanted})


def get_from_dict(dct: Mapping[str, Any], keys: str | list[str | int], default: Any = None) -> Any:
    """Return what is at a path in nested dicts and lists, or the default when there is nothing.

    A path is written ``"a.b[0].c"`` or as a list of keys.
    """
    path = keys.replace("[", ".").replace("]", "").split(".") if isinstance(keys, str) else keys
    value: Any = dct
    for key in path:
        try:
            value = value[key]
        except (KeyError, TypeError, IndexError):
            try:
                value = value[int(key)]
            except (KeyError, TypeError, IndexError, ValueError):
                return default
    return value


# --- visiting ----------------------------------------------------------------------------------------


class StopVisiting(BaseException):
    """Raised by a visit function: leave this object as it is, and do not look inside it."""


def visit_collection(
    expr: Any,
    visit_fn: VisitFn,
    return_data: bool = False,
    max_depth: int = -1,
    context: dict[str, Any] | None = None,
    remove_annotations: bool = False,
) -> Any:
    """Call a function on an object and on everything inside it, from the outside in.

    Looks into lists, tuples, sets, dicts (keys too), dataclasses, pydantic models and annotations. What the function
    returns takes the object's place before its inside is looked at.

    Args:
        expr: the object to begin with.
        visit_fn: called with each object, and with a context when there is one; may raise `StopVisiting`.
        return_data: return the objects with their replacements; otherwise None is returned and the function is called
            for what it does. A container in which nothing was replaced is returned as it is, not copied.
        max_depth: how many levels to look inside; 0 for the object alone, -1 for all.
        context: handed to the function; each object gets a copy of what its container had, so what the function writes
            is seen further inside only. `context["annotation"]` is the annotation an object stands in.
        remove_annotations: return annotated objects without their annotations.
    """
    visited = _Visitor(visit_fn, return_data, remove_annotations).visit(expr, max_depth, context)
    return visited if return_data else None


class _Visitor:
    def __init__(self, visit_fn: VisitFn, replaces: bool, remove_annotations: bool) -> None:
        self.visit_fn = cast("Callable[..., Any]", visit_fn)
        self.replaces = replaces
        self.remove_annotations = remove_annotations
        self.open: set[int] = set()
        """Ids of the containers that are being visited: a container inside itself is not entered again."""

    def visit(self, expr: Any, depth: int, context: dict[str, Any] | None) -> Any:
        if context is not None:
            context = dict(context)
        try:
            result = self.visit_fn(expr) if context is None else self.visit_fn(expr, context)
        except StopVisiting:
            return expr
        if not self.replaces:
            result = expr
        if depth == 0 or id(result) in self.open:
            return result
        if isinstance(result, BaseAnnotation):
            return self._annotation(cast("BaseAnnotation[Any]", result), depth, context)
        children = _children(result)
        if not children:
            return result
        self.open.add(id(result))
        try:
            new = [self.visit(child, depth - 1, context) for child in children]
        finally:
            self.open.discard(id(result))
        if all(after is before for after, before in zip(new, children, strict=True)):
            return result
        return _with_children(result, new)

    def _annotation(self, annotated: BaseAnnotation[Any], depth: int, context: dict[str, Any] | None) -> Any:
        if context is not None:
            context["annotation"] = annotated
        inside = annotated.unwrap()
        value = self.visit(inside, depth - 1, context)
        if self.remove_annotations:
            return value
        return annotated if value is inside else annotated.rewrap(value)


def _children(value: Any) -> list[Any]:
    """Return what is inside a container; nothing for anything else."""
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        return [*items.keys(), *items.values()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(cast("Iterable[Any]", value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    if _is_model(value):
        return list(_model_fields(value).values())
    return []


def _is_model(value: object) -> bool:
    # By its attributes: pydantic is slow to import, and where it is not loaded there is no model.
    return hasattr(value.__class__, "__pydantic_fields_set__")


def _model_fields(value: Any) -> dict[str, Any]:
    extra: dict[str, Any] = getattr(value, "__pydantic_extra__", None) or {}
    return {**value.__dict__, **extra}


def _with_children(value: Any, new: list[Any]) -> Any:
    """Return a container of the same type with other things in it."""
    if isinstance(value, dict):
        count = len(new) // 2
        made = copy.copy(cast("dict[Any, Any]", value))  # keeps the factory of a defaultdict, the type of a subclass
        made.clear()
        made.update(zip(new[:count], new[count:], strict=True))
        return made
    if isinstance(value, tuple):
        cls = cast("type[Any]", type(cast("object", value)))
        return cls._make(new) if hasattr(cls, "_make") else cls(new)
    if isinstance(value, (list, set, frozenset)):
        return cast("type[Any]", type(cast("object", value)))(new)
    made = copy.copy(value)
    if dataclasses.is_dataclass(value):
        for field, item in zip(dataclasses.fields(value), new, strict=True):
            object.__setattr__(made, field.name, item)  # frozen ones too
        return made
    # Not through the model's own setter, which may refuse (frozen) or validate.
    fields = dict(zip(_model_fields(value), new, strict=True))
    extra: dict[str, Any] | None = getattr(value, "__pydantic_extra__", None)
    object.__setattr__(made, "__dict__", {name: fields[name] for name in value.__dict__})
    if extra:
        object.__setattr__(made, "__pydantic_extra__", {name: fields[name] for name in extra})
    return made
