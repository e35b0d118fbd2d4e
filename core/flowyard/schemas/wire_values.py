"""Plain values as msgpack: times as integers, ids as 16 bytes, and extension types for both in free-form maps."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast
from uuid import UUID, SafeUUID

import msgpack

from flowyard.exceptions import UnknownWireFormat

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST_REPR = 1024

_new = object.__new__
_set = object.__setattr__
# A member of an enum, asked for through its class, is a call of a Python function in 3.11.
_UNKNOWN = SafeUUID.unknown


def time_to_wire(time: datetime | None) -> int | None:
    """Return microseconds since the epoch.

    Raises:
        ValueError: the time has no time zone.
    """
    if time is None:
        return None
    if time.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone; use an aware datetime, e.g. datetime.now(UTC)")
    return (time - _EPOCH) // _MICROSECOND


def time_from_wire(microseconds: int | None) -> datetime | None:
    """Return the aware UTC time."""
    return None if microseconds is None else _EPOCH + timedelta(microseconds=microseconds)


def aware_from_wire(microseconds: int) -> datetime:
    """Return the aware UTC time of a field that is always set."""
    return _EPOCH + timedelta(microseconds=microseconds)


def id_to_wire(value: UUID | None) -> bytes | None:
    """Return the 16 bytes of an id."""
    return None if value is None else value.bytes


def id_from_wire(raw: bytes | bytearray) -> UUID:
    """Return the id of 16 bytes."""
    # UUID(bytes=...) checks its arguments at twice the cost of everything here (see schemas.ids).
    made = _new(UUID)
    _set(made, "int", int.from_bytes(raw))
    _set(made, "is_safe", _UNKNOWN)
    return made


def maybe_id_from_wire(raw: bytes | None) -> UUID | None:
    """Return the id of 16 bytes, None for None."""
    return None if raw is None else id_from_wire(raw)


def interval_to_wire(value: timedelta) -> int:
    """Return microseconds."""
    return value // _MICROSECOND if value else 0


_EXT_TIME, _EXT_ID, _EXT_INTERVAL, _EXT_DATE, _EXT_BIG_INT = range(1, 6)


def _plain(value: object) -> Any:
    """Return what msgpack can pack for a value in a free-form map (parameters, context, a result's record)."""
    match value:
        case datetime():
            # A naive time has no place on the time line: it stays the text that JSON would have.
            if value.tzinfo is None:
                return value.isoformat()
            return msgpack.ExtType(_EXT_TIME, packb(time_to_wire(value)))
        case UUID():
            return msgpack.ExtType(_EXT_ID, value.bytes)
        case timedelta():
            return msgpack.ExtType(_EXT_INTERVAL, packb(interval_to_wire(value)))
        case date():
            return msgpack.ExtType(_EXT_DATE, value.isoformat().encode())
        case int():  # beyond 64 bits
            return msgpack.ExtType(_EXT_BIG_INT, str(value).encode())
        case enum.Enum():
            return value.value
        case set() | frozenset():
            return list(cast("frozenset[object]", value))
        case _:
            return _short_repr(value)


_DEEPEST = 50
_KEYS = (str, int, float, bool, bytes, type(None))


def plain(value: Any, depth: int = 0) -> Any:
    """Return a copy of free-form data that can be packed and read back.

    What is nested too deeply (or contains itself) and keys that are no scalars become their `repr`.
    """
    if isinstance(value, Mapping):
        if depth >= _DEEPEST:
            return _short_repr(cast("object", value))
        items = cast("Mapping[object, Any]", value).items()
        return {(key if isinstance(key, _KEYS) else _short_repr(key)): plain(item, depth + 1) for key, item in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        if depth >= _DEEPEST:
            return _short_repr(cast("object", value))
        return [plain(item, depth + 1) for item in cast("Iterable[Any]", value)]
    return value


def _short_repr(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:  # a user's repr, of a value that is only told about
        text = f"<{type(value).__name__}, whose repr raised {type(error).__name__}>"
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."


def _from_ext(code: int, raw: bytes) -> Any:
    if code == _EXT_TIME:
        return aware_from_wire(unpackb(raw))
    if code == _EXT_ID:
        return id_from_wire(raw)
    if code == _EXT_INTERVAL:
        return timedelta(microseconds=unpackb(raw))
    if code == _EXT_DATE:
        return date.fromisoformat(raw.decode())
    if code == _EXT_BIG_INT:
        return int(raw)
    raise UnknownWireFormat("extension", code, _EXT_BIG_INT)


def packb(value: Any) -> bytes:
    """Return plain data (what `encode` made, in any envelope) as msgpack; lone surrogates in text survive."""
    return cast(
        "bytes",
        msgpack.packb(  # pyright: ignore[reportUnknownMemberType]  msgpack is not typed
            value, default=_plain, unicode_errors="surrogatepass"
        ),
    )


def unpackb(data: bytes | bytearray | memoryview) -> Any:
    """Read what `packb` wrote. Maps may have keys of any type; arrays come back as lists."""
    return msgpack.unpackb(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        data, ext_hook=_from_ext, strict_map_key=False, unicode_errors="surrogatepass"
    )
