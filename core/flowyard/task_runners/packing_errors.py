"""Exceptions as bytes: each of a chain of causes by itself, with words for the ones that cannot travel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from flowyard.exceptions import RemoteException, exception_traceback
from flowyard.task_runners.envelopes import put, take
from flowyard.task_runners.pickling import Buffer, pickled

_LONGEST_CHAIN = 20
_LONGEST_TEXT = 64 * 1024


class Failure(NamedTuple):
    """What the control plane knows about an exception: readable without rebuilding it."""

    type_name: str
    message: str
    traceback: str
    """As Python prints it, causes included; the last 64 KB."""


def describe(error: BaseException) -> Failure:
    """Return type, message and traceback of an exception. Never raises for what a user's `__str__` does."""
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    try:
        message = str(error)
    except Exception as inner:
        message = f"<its message cannot be read: {type(inner).__name__}>"
    try:
        traceback = exception_traceback(error)
    except Exception as inner:
        traceback = f"<its traceback cannot be read: {type(inner).__name__}>"
    return Failure(name, message[:_LONGEST_TEXT], traceback[-_LONGEST_TEXT:])


def pack_error(error: BaseException, buffers: list[Buffer]) -> list[Any]:
    """Return an exception and what led to it, as a list whose first is `error`.

    Each is `[type, message, traceback, pickle or None, cause, context, suppress]`; cause and context are numbers in the
    list. A chain of more than 20 is cut off.
    """
    chain: list[BaseException] = [error]
    number = {id(error): 0}
    nodes: list[list[Any]] = []

    def place_of(other: BaseException | None) -> int | None:
        if other is None:
            return None
        if id(other) not in number:
            if len(chain) >= _LONGEST_CHAIN:
                return None
            number[id(other)] = len(chain)
            chain.append(other)
        return number[id(other)]

    for link in chain:  # grows while it is walked
        ways_on = (place_of(link.__cause__), place_of(link.__context__), link.__suppress_context__)
        nodes.append([*describe(link), _pickle_of(link, buffers), *ways_on])
    return nodes


def _pickle_of(error: BaseException, buffers: list[Buffer]) -> Any:
    try:
        return put(pickled(error), buffers)
    except Exception:  # a stand-in takes its place, made from the words beside it
        return None


def unpack_error(nodes: Sequence[Sequence[Any]], buffers: Sequence[Buffer], where: str) -> BaseException:
    """Return the exception that `pack_error` packed, with its causes.

    One that could not be pickled, or cannot be rebuilt here, becomes a `RemoteException`. The traceback of the other
    process is added as a note, because tracebacks do not travel.
    """
    errors = [_load(node, buffers) for node in nodes]
    for error, node in zip(errors, nodes, strict=True):
        _, _, _, _, cause, context, suppress = node[:7]
        error.__cause__ = None if cause is None else errors[cause]
        error.__context__ = None if context is None else errors[context]
        error.__suppress_context__ = suppress
    traceback = str(nodes[0][2]).rstrip()
    if traceback:
        errors[0].add_note(f"Raised in {where}:\n{traceback}")
    return errors[0]


def _load(node: Sequence[Any], buffers: Sequence[Buffer]) -> BaseException:
    type_name, message, traceback, reference = node[:4]
    if reference is not None:
        try:
            error = take(reference, buffers).load()
        except Exception:
            error = None
        if isinstance(error, BaseException):
            return error
    return RemoteException(type_name, message, traceback)
