"""Marks a caller puts around an argument to say how a task takes it.

Annotations nest in any order and keep all their meanings: ``unmapped(allow_failure(x))`` is the same as
``allow_failure(unmapped(x))``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Self, TypeVar, cast, final

T = TypeVar("T")


class BaseAnnotation(Generic[T]):
    """One value and a mark on it. Equal to an annotation of the same type around an equal value."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def unwrap(self) -> T:
        """Return the value without the mark."""
        return self.value

    def rewrap(self, value: T) -> Self:
        """Return another value with the same mark."""
        return type(self)(value)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return bool(self.value == cast("BaseAnnotation[T]", other).value)

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.value,)


class unmapped(BaseAnnotation[T]):  # noqa: N801  public name
    """In `Task.map`, hand the value whole to every child instead of iterating over it.

    Only needed for iterables: ``add.map(xs, y=unmapped([1, 2]))``.
    """

    __slots__ = ()


class allow_failure(BaseAnnotation[T]):  # noqa: N801  public name
    """Let a task start although the upstream run in the value failed.

    The task receives the upstream's exception object. Works on arguments, in `wait_for` and in `map`. An upstream that
    crashed or was cancelled is not let through.
    """

    __slots__ = ()


class quote(BaseAnnotation[T]):  # noqa: N801  public name
    """Hand a value over without looking inside: no futures are resolved and no dependencies tracked in it.

    Saves the scan of a large collection, and lets a flow return a `State` as data.
    """

    __slots__ = ()

    def unquote(self) -> T:
        """Return the value without the mark."""
        return self.value


Quote = quote


@final
class NotSet:
    """Stands for an option that was not given, where None means something."""


def peel(value: Any) -> tuple[Any, tuple[type[BaseAnnotation[Any]], ...]]:
    """Return the value under all annotations directly around it, and their types from the outside in."""
    marks: list[type[BaseAnnotation[Any]]] = []
    while isinstance(value, BaseAnnotation):
        annotation = cast("BaseAnnotation[Any]", value)
        marks.append(type(annotation))
        value = annotation.value
    return value, tuple(marks)


def annotate(value: Any, marks: Iterable[type[BaseAnnotation[Any]]]) -> Any:
    """Put the marks that `peel` took off around a value again."""
    for mark in reversed(tuple(marks)):
        value = mark(value)
    return value
