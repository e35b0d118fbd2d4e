"""A hash of values that is the same in every process for equal values.

Pickles are not: they depend on the order of sets, on which of two equal strings are one object, and on the order of
keyword arguments. So containers are hashed by structure, and only what is no container is pickled.
"""

from __future__ import annotations

import dataclasses
import decimal
import enum
import hashlib
import importlib
import pickle
import types
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from pathlib import PurePath
from typing import Any, NamedTuple

from flowyard.annotations import BaseAnnotation


class Fingerprint(NamedTuple):
    """A hash, or the reason why there is none."""

    value: str | None
    reason: str | None = None


def fingerprint(arguments: Mapping[str, Any]) -> Fingerprint:
    """Return a hash of a call's resolved arguments; equal arguments have equal hashes in all processes.

    None when an argument cannot be hashed, with a reason that names it. Equal values may have different hashes where
    pickling is all there is (objects with sets in them): then a task runs again that need not; never the reverse.
    """
    encoded: list[bytes] = []
    for name in sorted(arguments):
        try:
            encoded.append(_framed(b"=", name.encode() + _encode(arguments[name], 0)))
        except Exception as error:
            kind = type(arguments[name]).__name__
            return Fingerprint(None, f"argument {name!r} (a {kind}) cannot be hashed: {type(error).__name__}: {error}")
    return Fingerprint(hashlib.blake2b(b"".join(encoded), digest_size=16).hexdigest())


def fingerprint_of(arguments: Mapping[str, Any]) -> str | None:
    """Return the hash of `fingerprint`, without the reason where there is none."""
    return fingerprint(arguments).value


_DEEPEST = 200


def _encode(value: Any, depth: int) -> bytes:
    """Return bytes that are equal for equal values, and different for values of different type or content."""
    kind = value.__class__
    if kind is str:
        return _framed(b"s", value.encode("utf-8", "surrogatepass"))
    if kind is int:
        return _framed(b"i", b"%x" % value)  # decimal digits have a limit
    if kind in _SCALARS:
        return _framed(_SCALARS[kind], repr(value).encode())
    if kind is bytes:
        return _framed(b"b", value)
    if depth > _DEEPEST:
        raise ValueError(f"it is nested deeper than {_DEEPEST} levels, or contains itself")
    if kind is list or kind is tuple:
        # a list and a tuple of the same items are one input to nearly every function, but not to all
        return _framed(b"L" if kind is list else b"T", b"".join([_encode(item, depth + 1) for item in value]))
    if kind is dict:
        items = [_encode(name, depth + 1) + _encode(item, depth + 1) for name, item in value.items()]
        return _framed(b"M", b"".join(sorted(items)))
    if kind is set or kind is frozenset:
        return _framed(b"S", b"".join(sorted([_encode(item, depth + 1) for item in value])))
    named = f"{kind.__module__}.{kind.__qualname__}".encode()
    parts = _parts(value, kind)
    content = _pickled(value) if parts is None else _encode(parts, depth + 1)
    return _framed(b"O", _framed(b"p" if parts is None else b"o", named) + content)


_SCALARS: Mapping[type[Any], bytes] = {
    bool: b"?",
    type(None): b"n",
    float: b"f",
    complex: b"c",
    decimal.Decimal: b"d",
    uuid.UUID: b"u",
    datetime: b"t",
    date: b"y",
    time: b"h",
    timedelta: b"l",
}


def _parts(value: Any, kind: type[Any]) -> Any:
    """Return what an object is made of, in simpler types; None when that is not known."""
    if issubclass(kind, enum.Enum):
        return value.name
    if hasattr(kind, "_fields") and hasattr(kind, "_make"):  # a named tuple
        return list(value)
    if issubclass(kind, PurePath):
        return str(value)
    if issubclass(kind, BaseAnnotation):
        return [value.value]
    if dataclasses.is_dataclass(kind):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(kind)}
    if hasattr(kind, "__pydantic_fields_set__") or hasattr(kind, "__fields_set__"):
        return [dict(value.__dict__), getattr(value, "__pydantic_extra__", None)]
    if kind.__module__ == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject:
        return [str(value.dtype), value.shape, value.tobytes()]
    return None


def _framed(tag: bytes, content: bytes) -> bytes:
    """Return bytes with their kind and length before them, so that no two sequences of values look the same."""
    return b"%b%x:%b" % (tag, len(content), content)


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=5)
    except Exception:
        # For what cannot be imported. It comes second because it writes the classes of a script differently in each
        # process, and it is imported late because most arguments need no pickle at all.
        return importlib.import_module("cloudpickle").dumps(value)


def code_digest(fn: Callable[..., Any]) -> bytes:
    """Return a hash of a function's own code: its bytecode, constants and names, those of inner functions too.

    Code of functions that it calls does not count. An object that has no code counts by its qualified name.
    """
    code = getattr(fn, "__code__", None)
    if code is None:
        named = f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', type(fn).__qualname__)}"
        return hashlib.blake2b(named.encode(), digest_size=16).digest()
    return hashlib.blake2b(_code(code), digest_size=16).digest()


def _code(code: types.CodeType) -> bytes:
    constants = [_code(item) if isinstance(item, types.CodeType) else _encode(item, 0) for item in code.co_consts]
    return _framed(b"C", _framed(b"c", code.co_code) + _encode(code.co_names, 0) + b"".join(constants))
