"""Column types: how ids, times and JSON are kept, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import json.encoder
import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import BigInteger, LargeBinary, Text, Uuid
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine
from typing_extensions import override


def _make_encoder() -> Callable[[Any], str]:
    """Return a function that does what `json.JSONEncoder.encode` does in half the time.

    That method builds the C encoder anew at each call, which is most of the 3 microseconds a small object takes.
    """
    encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    internals: Any = json.encoder  # the standard library's, but not in its type stubs
    if internals.c_make_encoder is None:
        return encoder.encode
    pieces: Callable[[Any, int], Iterable[str]] = internals.c_make_encoder(
        None, encoder.default, internals.encode_basestring_ascii, None, ":", ",", False, False, False
    )

    def encode(value: Any) -> str:
        return "".join(pieces(value, 0))

    return encode


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encode = _make_encoder()


def to_microseconds(moment: datetime) -> int:
    """Return the microseconds since the epoch of an aware time; exact, about 0.2 microseconds.

    Raises:
        ValueError: the time is naive.
    """
    if moment.tzinfo is None:
        raise ValueError(f"the time {moment!r} has no time zone; use datetime.now(UTC)")
    since = moment - EPOCH
    return since.days * 86_400_000_000 + since.seconds * 1_000_000 + since.microseconds


def from_microseconds(microseconds: int) -> datetime:
    """Return the aware UTC time that `to_microseconds` was given."""
    return EPOCH + timedelta(microseconds=microseconds)


def duration_to_microseconds(duration: timedelta) -> int:
    """Return a duration in whole microseconds."""
    return duration.days * 86_400_000_000 + duration.seconds * 1_000_000 + duration.microseconds


def storable_text(text: str) -> str:
    """Return `text` without what a database refuses: NUL (PostgreSQL) and lone surrogates (both).

    A log line may hold either (a binary file's head, a file name that is not UTF-8), and one refused value would
    fail the whole batch.
    """
    if "\x00" in text:
        text = text.replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
    return text


def to_json(value: Any) -> str:
    """Return the JSON text of a value made of JSON types, in the form both databases take.

    Not-a-number and the infinities become null: JSON has no word for them.
    """
    try:
        text = _encode(value)
    except ValueError:  # NaN or infinity
        return _encode(storable_json(value))
    # The encoder escapes everything that is not ASCII, so NUL and surrogates can only be there as escapes.
    if "\\u0000" in text or "\\ud" in text:
        text = _encode(storable_json(value))
    return text


def storable_json(value: Any) -> Any:
    """Return a JSON value without what a database refuses."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value).items()
        return {storable_json(key): storable_json(item) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [storable_json(item) for item in cast("list[Any]", value)]
    return value


class Identifier(TypeDecorator[UUID]):
    """A UUID: 16 bytes on SQLite, `uuid` on PostgreSQL. Both sort by value, so UUIDv7 sorts by time."""

    impl = LargeBinary
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(Uuid())
        return dialect.type_descriptor(LargeBinary(16))

    @override
    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> Any:
        if value is None or dialect.name == "postgresql":
            return value
        return value.bytes

    @override
    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:
        if value is None or isinstance(value, UUID):
            return value
        return UUID(bytes=value)


class Timestamp(TypeDecorator[datetime]):
    """An aware UTC time, kept as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_microseconds(value)

    @override
    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_microseconds(value)


class Duration(TypeDecorator[timedelta]):
    """A length of time, kept as microseconds."""

    impl = BigInteger
    cache_ok = True

    @override
    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        return None if value is None else value // _MICROSECOND

    @override
    def process_result_value(self, value: int | None, dialect: Dialect) -> timedelta | None:
        return None if value is None else timedelta(microseconds=value)


class Json(TypeDecorator[Any]):
    """A JSON value: text on SQLite, `jsonb` on PostgreSQL. None is NULL."""

    impl = Text
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql  # noqa: PLC0415  25 ms that SQLite need not pay

            return dialect.type_descriptor(postgresql.JSONB(none_as_null=True))
        return dialect.type_descriptor(Text())

    @override
    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        # PostgreSQL's type serializes by itself; it gets the cleaned value.
        return storable_json(value) if dialect.name == "postgresql" else to_json(value)

    @override
    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return json.loads(value) if isinstance(value, str) and dialect.name != "postgresql" else value


class PlainText(TypeDecorator[str]):
    """Text of any length and content; see `storable_text`."""

    impl = Text
    cache_ok = True

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable_text(value)
