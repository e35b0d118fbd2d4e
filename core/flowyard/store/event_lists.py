"""Events for the REST API: pages of a list, counts, and what is new since somebody looked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Column, Select, Tuple, func, select, tuple_, type_coerce
from sqlalchemy.engine import Connection

from flowyard.schemas.api.events import NAME_LABEL, Countable, EventCount, EventFilter, ReceivedEvent
from flowyard.schemas.api.sorting import EventOrder
from flowyard.store.dialects import Dialect
from flowyard.store.encoding import duration_to_microseconds, to_microseconds
from flowyard.store.events import event, event_of
from flowyard.store.filtering.events import of_events

_MOST_COUNTS = 1_000


def read_page(
    connection: Connection,
    dialect: Dialect,
    where: EventFilter,
    *,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
) -> list[ReceivedEvent]:
    """Return events in the order of the filter, from the one on that follows the place `after`."""
    query = _matching(dialect, where)
    is_ascending = where.order is EventOrder.ASC
    if after is not None:
        place, there = _place(event.c.occurred), _values(after)
        query = query.where(place > there if is_ascending else place < there)
    columns = (event.c.occurred, event.c.id)
    order = columns if is_ascending else [column.desc() for column in columns]
    return [event_of(row) for row in connection.execute(query.order_by(*order).limit(limit))]


def count(connection: Connection, dialect: Dialect, where: EventFilter) -> int:
    """Count the events that a filter takes."""
    return connection.execute(select(func.count()).select_from(_matching(dialect, where).subquery())).scalar_one()


def read_recorded(
    connection: Connection,
    dialect: Dialect,
    where: EventFilter,
    *,
    since: datetime,
    limit: int,
    after: tuple[datetime, UUID] | None = None,
) -> list[tuple[datetime, ReceivedEvent]]:
    """Return events that were written at a time or later, with that time, in the order in which they were written."""
    query = select(event).where(*of_events(dialect, where), event.c.recorded >= since)
    if after is not None:
        query = query.where(_place(event.c.recorded) > _values(after))
    rows = connection.execute(query.order_by(event.c.recorded, event.c.id).limit(limit))
    return [(row.recorded, event_of(row)) for row in rows]


def count_by(
    connection: Connection, dialect: Dialect, where: EventFilter, countable: Countable, *, every: timedelta
) -> list[EventCount]:
    """Count events by name or resource, most first, or by spans of time, in order and with those that have none.

    Args:
        connection: to read on.
        dialect: of the database.
        where: which events.
        countable: what to count by.
        every: how long a span of time is; a day of `Countable.DAY` begins at midnight in UTC.

    Raises:
        ValueError: there are more spans than fit in an answer.
    """
    if countable in (Countable.DAY, Countable.TIME):
        return _by_time(connection, dialect, where, every=every, is_aligned=countable is Countable.DAY)
    found = _matching(dialect, where).subquery()
    value = found.c.event if countable is Countable.EVENT else found.c.resource_id
    number = func.count()
    query = (
        select(
            value.label("value"),
            number.label("number"),
            func.min(found.c.occurred).label("first"),
            func.max(found.c.occurred).label("last"),
        )
        .group_by(value)
        .order_by(number.desc(), value)
        .limit(_MOST_COUNTS)
    )
    rows = connection.execute(query).all()
    labels: dict[str, str] = {} if countable is Countable.EVENT else _names_of(connection, [row.value for row in rows])
    return [
        EventCount(
            value=row.value,
            label=labels.get(row.value) or row.value,
            count=row.number,
            start_time=row.first,
            end_time=row.last,
        )
        for row in rows
    ]


def _by_time(
    connection: Connection, dialect: Dialect, where: EventFilter, *, every: timedelta, is_aligned: bool
) -> list[EventCount]:
    found = _matching(dialect, where).subquery()
    ends = connection.execute(select(func.min(found.c.occurred), func.max(found.c.occurred))).one()
    if ends[0] is None:
        return []
    start = where.occurred.since or ends[0]
    if is_aligned:
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
    end = max(where.occurred.until or ends[1], ends[1])
    spans = (end - start) // every + 1
    if spans > _MOST_COUNTS:
        raise ValueError(
            f"{spans} spans of {every.total_seconds()} seconds are more than the {_MOST_COUNTS} that an answer has; "
            "choose a longer time_interval, or a narrower filter"
        )
    since_start = type_coerce(found.c.occurred, BigInteger) - to_microseconds(start)
    span = since_start // duration_to_microseconds(every)
    counts = {row[0]: row[1] for row in connection.execute(select(span.label("span"), func.count()).group_by("span"))}
    return [
        EventCount(
            value=(start + number * every).isoformat(),
            label=(start + number * every).isoformat(),
            count=counts.get(number, 0),
            start_time=start + number * every,
            end_time=start + (number + 1) * every,
        )
        for number in range(spans)
    ]


def _matching(dialect: Dialect, where: EventFilter) -> Select[Any]:
    conditions = list(of_events(dialect, where))
    if where.resource is None or not where.resource.distinct:
        return select(event).where(*conditions)
    newest_first = (event.c.occurred.desc(), event.c.id.desc())
    rank = func.row_number().over(partition_by=event.c.resource_id, order_by=newest_first)
    ranked = select(event.c.id, rank.label("rank")).where(*conditions).subquery()
    return select(event).where(event.c.id.in_(select(ranked.c.id).where(ranked.c.rank == 1)))


def _names_of(connection: Connection, resource_ids: Sequence[str]) -> dict[str, str]:
    """Return the names that the newest events give resources."""
    rank = func.row_number().over(partition_by=event.c.resource_id, order_by=event.c.occurred.desc())
    ranked = (
        select(event.c.resource_id, event.c.resource, rank.label("rank"))
        .where(event.c.resource_id.in_(resource_ids))
        .subquery()
    )
    rows = connection.execute(select(ranked.c.resource_id, ranked.c.resource).where(ranked.c.rank == 1))
    return {row.resource_id: row.resource[NAME_LABEL] for row in rows if NAME_LABEL in row.resource}


def _place(time: Column[Any]) -> Tuple[Any]:
    return tuple_(time, event.c.id)


def _values(place: tuple[datetime, UUID]) -> Tuple[Any]:
    return tuple_(*place, types=[event.c.occurred.type, event.c.id.type])
