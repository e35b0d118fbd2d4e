"""Column types of SQLAlchemy: how ids, times and JSON are kept, the same on SQLite and PostgreSQL."""

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
        return None if value is None else duration_to_microseconds(value)

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
