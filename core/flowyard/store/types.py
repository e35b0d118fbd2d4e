"""Column types of SQLAlchemy: how ids, times and JSON are kept, the same on SQLite and PostgreSQL.

They say themselves what makes a Python value of a stored one (`result_processor`), where SQLAlchemy would put two more
calls around each value: a list of 200 flow runs has 5,000.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, LargeBinary, Text, Uuid
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine
from typing_extensions import override

from flowyard.store.encoding import (
    duration_to_microseconds,
    from_microseconds,
    storable_json,
    storable_text,
    to_json,
    to_microseconds,
)

# What `json.loads` does, without looking for white space around a text that we wrote.
_decode = json.JSONDecoder().raw_decode


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
    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:
        # psycopg returns UUIDs.
        return None if dialect.name == "postgresql" else _id_of


class Timestamp(TypeDecorator[datetime]):
    """An aware UTC time, kept as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_microseconds(value)

    @override
    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:
        return _moment_of


class Duration(TypeDecorator[timedelta]):
    """A length of time, kept as microseconds."""

    impl = BigInteger
    cache_ok = True

    @override
    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> int | None:
        return None if value is None else duration_to_microseconds(value)

    @override
    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:
        return _duration_of


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
    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:
        # psycopg returns what the text says.
        return None if dialect.name == "postgresql" else _document_of


class PlainText(TypeDecorator[str]):
    """Text of any length and content; see `storable_text`."""

    impl = Text
    cache_ok = True

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable_text(value)


def _id_of(value: bytes | None) -> UUID | None:
    return None if value is None else UUID(bytes=value)


def _moment_of(value: int | None) -> datetime | None:
    return None if value is None else from_microseconds(value)


def _duration_of(value: int | None) -> timedelta | None:
    return None if value is None else timedelta(microseconds=value)


def _document_of(value: str | None) -> Any:
    if value is None:
        return None
    # Most of them are empty.
    if value == "{}":
        return {}
    return [] if value == "[]" else _decode(value)[0]
