"""The orders of lists, and pages of them that begin after a row: no page is read to be skipped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Column, or_, select, tuple_
from sqlalchemy.engine import Connection
from sqlalchemy.sql import ColumnElement, Select

from flowyard.exceptions import ObjectNotFound

Q = TypeVar("Q", bound=Select[Any])


@dataclass(frozen=True, slots=True)
class Order:
    """Rows in the order of a column, and, where that is equal, of others and of their ids, in the same direction.

    Rows without a value come last, whichever the direction: the databases do not agree by themselves.
    """

    column: ColumnElement[Any]
    is_descending: bool = False
    is_nullable: bool = False
    then: tuple[ColumnElement[Any], ...] = ()
    """The others, which all have values."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list to return.

    Attributes:
        limit: at most so many.
        offset: so many are left out first.
        after: the id of the last one of the page before, which is left out as all before it; None for the first page.
    """

    limit: int
    offset: int = 0
    after: UUID | None = None

    def of(self, connection: Connection, query: Q, order: Order, key: Column[UUID], kind: str) -> Q:
        """Return a query for this part of a list; `kind` is what the rows are, for the message.

        Raises:
            ObjectNotFound: there is no row of the id `after`.
        """
        if self.after is not None:
            query = query.where(_page_after(connection, query, order, key, self.after, kind))
        return ordered(query, order, key).limit(self.limit).offset(self.offset)


def ordered(query: Q, order: Order, key: Column[UUID]) -> Q:
    """Return a query in an order; `key` breaks ties."""
    columns = [order.column] if order.column is key else [order.column, *order.then, key]
    first, *rest = [each.desc() if order.is_descending else each.asc() for each in columns]
    return query.order_by(first.nulls_last() if order.is_nullable else first, *rest)


def _page_after(
    connection: Connection, query: Select[Any], order: Order, key: Column[UUID], after: UUID, kind: str
) -> ColumnElement[bool]:
    """Return the condition on the rows that come after the row of an id.

    Raises:
        ObjectNotFound: there is no such row (any more): where it was cannot be known.
    """
    # Whether or not the filters still take it: it may have changed since its page was read.
    place = select(order.column, *order.then).select_from(*query.get_final_froms())
    found = connection.execute(place.where(key == after)).first()
    if found is None:
        raise ObjectNotFound(kind, after)
    value = found[0]
    if order.column is key:
        return key < after if order.is_descending else key > after
    if value is None:
        return order.column.is_(None) & (key < after if order.is_descending else key > after)
    columns = [order.column, *order.then, key]
    here, there = tuple_(*columns), tuple_(*found, after, types=[each.type for each in columns])
    later = here < there if order.is_descending else here > there
    return or_(later, order.column.is_(None)) if order.is_nullable else later
