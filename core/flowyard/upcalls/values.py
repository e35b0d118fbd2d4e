"""What an upcall can carry, as msgpack: plain data, and the records, enumerations and filters of `flowyard.schemas`.

Nothing is pickled: what one end sends cannot run code on the other.
"""

from __future__ import annotations

import enum
import importlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from types import ModuleType
from typing import Any, cast
from uuid import UUID

import msgpack

from flowyard.exceptions import UnknownWireFormat
from flowyard.schemas.states import State
from flowyard.schemas.wire import decode_state, encode_state
from flowyard.schemas.wire_values import (
    aware_from_wire,
    id_from_wire,
    interval_to_wire,
    time_to_wire,
)

_RECORD, _STATE, _TUPLE, _SET, _FROZENSET, _TIME, _ID, _INTERVAL, _INTEGER = range(9)
_SCHEMAS = "flowyard.schemas."


def pack_value(value: Any) -> bytes:
    """Return a value as bytes.

    Raises:
        TypeError: it is, or contains, something that is neither plain data nor a record of `flowyard.schemas`.
    """
    return cast(
        "bytes",
        msgpack.packb(  # pyright: ignore[reportUnknownMemberType]  msgpack is not typed
            value, default=_extension, strict_types=True, unicode_errors="surrogatepass"
        ),
    )


def unpack_value(data: bytes) -> Any:
    """Read what `pack_value` wrote.

    Raises:
        UnknownWireFormat: another version of Flowyard wrote it.
    """
    return msgpack.unpackb(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        data, ext_hook=_from_extension, strict_map_key=False, unicode_errors="surrogatepass"
    )


def _extension(value: Any) -> Any:
    match value:
        case UUID():
            return msgpack.ExtType(_ID, value.bytes)
        case datetime():
            return msgpack.ExtType(_TIME, pack_value(time_to_wire(value)))
        case timedelta():
            return msgpack.ExtType(_INTERVAL, pack_value(interval_to_wire(value)))
        case State():
            return msgpack.ExtType(_STATE, pack_value(encode_state(cast("State[Any]", value))))
        case enum.Enum():
            return msgpack.ExtType(_RECORD, pack_value([_name_of(type(value)), value.value]))
        case tuple():
            items = cast("tuple[Any, ...]", value)
            if hasattr(items, "_fields"):
                return msgpack.ExtType(_RECORD, pack_value([_name_of(type(items)), list(items)]))
            return msgpack.ExtType(_TUPLE, pack_value(list(items)))
        case frozenset():
            return msgpack.ExtType(_FROZENSET, pack_value(list(cast("frozenset[Any]", value))))
        case set():
            return msgpack.ExtType(_SET, pack_value(list(cast("set[Any]", value))))
        case str() | bytes() | float() | dict() | list():
            return _plain(cast("Any", value))
        case bool():
            return value
        case int():  # beyond 64 bits, or a subclass
            return msgpack.ExtType(_INTEGER, str(int(value)).encode())
        case _ if is_dataclass(value) and not isinstance(value, type):
            content = {name: getattr(value, name) for name in _fields_of(type(value))}
            return msgpack.ExtType(_RECORD, pack_value([_name_of(type(value)), content]))
        case _:
            raise TypeError(
                f"{value!r}, a {type(value).__name__}, cannot travel to another process: "
                "pass plain data (strings, numbers, lists, dicts)"
            )


def _plain(value: Any) -> Any:
    """Return an instance of a subclass as the builtin type."""
    for kind in (str, bytes, float, dict, list):
        if isinstance(value, kind):
            return cast("Callable[[Any], Any]", kind)(value)
    return value


def _from_extension(code: int, raw: bytes) -> Any:
    if code == _ID:
        return id_from_wire(raw)
    if code == _INTEGER:
        return int(raw)
    content = unpack_value(raw)
    match code:
        case _ if code == _RECORD:
            return _record(*content)
        case _ if code == _STATE:
            return decode_state(content)
        case _ if code == _TUPLE:
            return tuple(content)
        case _ if code == _SET:
            return set(content)
        case _ if code == _FROZENSET:
            return frozenset(content)
        case _ if code == _TIME:
            return aware_from_wire(content)
        case _ if code == _INTERVAL:
            return timedelta(microseconds=content)
        case _:
            raise UnknownWireFormat("extension", code, _INTEGER)


@lru_cache(maxsize=256)
def _fields_of(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _name_of(kind: type) -> str:
    if not kind.__module__.startswith(_SCHEMAS):
        raise TypeError(
            f"a {kind.__module__}.{kind.__qualname__} cannot travel between a remote task and the flow's process: only "
            "plain data and the records of flowyard.schemas can"
        )
    return f"{kind.__module__.removeprefix(_SCHEMAS)}:{kind.__qualname__}"


def _record(name: str, content: Any) -> Any:
    kind: Any = _kind_named(name)
    if issubclass(kind, enum.Enum):
        return kind(content)
    if hasattr(kind, "_fields"):
        return kind(*content)
    made: Any = object.__new__(kind)
    for field, value in cast("dict[str, Any]", content).items():
        object.__setattr__(made, field, value)  # frozen ones too
    return made


@lru_cache(maxsize=256)
def _kind_named(name: str) -> type:
    module, _, kind_name = name.partition(":")
    try:
        loaded: ModuleType = importlib.import_module(_SCHEMAS + module)
        kind = getattr(loaded, kind_name)
    except (ImportError, AttributeError) as error:
        raise UnknownWireFormat("record", name, 1) from error
    # A class that the module defines, not one of the standard library's that it imports.
    if not isinstance(kind, type) or kind.__module__ != loaded.__name__:
        raise UnknownWireFormat("record", name, 1)
    return kind
