"""The parts that filters of all nouns are made of. A field that is None filters nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Column, and_, or_, true
from sqlalchemy.sql import ColumnElement

from flowyard.exceptions import FilterTooLong
from flowyard.schemas.api.base import Operator
from flowyard.store.dialects import Dialect

Condition = ColumnElement[bool]
MOST_VALUES = 10_000
"""What one list of a filter has at most. All lists of a statement together may have 32,766 values on SQLite, and 65,535
on PostgreSQL: see `refusals`; long before, making the statement would take longer than the request is worth."""


def combined(conditions: Iterable[Condition], operator: Operator = Operator.and_) -> Condition:
    """Put the conditions of one filter together; none at all hold for everything."""
    conditions = list(conditions)
    if not conditions:
        return true()
    return or_(*conditions) if operator is Operator.or_ else and_(*conditions)


def one_of(column: ColumnElement[Any], values: Sequence[Any]) -> Condition:
    """Return the condition that the value is in a list.

    Raises:
        FilterTooLong: the list has more than `MOST_VALUES`.
    """
    return column.in_(checked(values))


def checked(values: Sequence[Any]) -> Sequence[Any]:
    """Return a list of a filter.

    Raises:
        FilterTooLong: it has more than `MOST_VALUES`.
    """
    if len(values) > MOST_VALUES:
        raise FilterTooLong(len(values), MOST_VALUES)
    return values


def is_any(column: ColumnElement[Any], values: Sequence[Any] | None) -> Iterable[Condition]:
    """`any_`: the value is in the list."""
    if values is not None:
        yield one_of(column, values)


def is_not_any(column: ColumnElement[Any], values: Sequence[Any] | None) -> Iterable[Condition]:
    """`not_any_`: the value is not in the list."""
    if values is not None:
        yield column.not_in(checked(values))


def is_like(column: ColumnElement[Any], text: str | None) -> Iterable[Condition]:
    """`like_`: the text is in the value, whatever its case; `%` and `_` in it are wildcards, as in SQL."""
    if text is not None:
        yield column.ilike(f"%{text}%")


def is_null(column: Column[Any], wanted: bool | None) -> Iterable[Condition]:
    """`is_null_`: there is no value, or there is one."""
    if wanted is not None:
        yield column.is_(None) if wanted else column.is_not(None)


def is_between(column: ColumnElement[Any], *, before: Any, after: Any) -> Iterable[Condition]:
    """`before_` and `after_`, both inclusive."""
    if before is not None:
        yield column <= before
    if after is not None:
        yield column >= after


def has_tags(
    dialect: Dialect, column: Column[Any], *, all_: Sequence[str] | None, is_null_: bool | None
) -> Iterable[Condition]:
    """`all_`: each of these tags is there; `is_null_`: there are none, or there are some."""
    for tag in checked(all_ or ()):
        yield dialect.json_array_has(column, tag)
    if is_null_ is not None:
        yield column == [] if is_null_ else column != []
