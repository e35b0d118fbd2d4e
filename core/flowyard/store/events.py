"""Events: what happened, to which resource, and what else had to do with it. Kept for a time, read with filters."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Index, Integer, Table, Text, delete, select
from sqlalchemy.engine import Connection, Row

from flowyard.schemas.api.events import ID_LABEL, ROLE_LABEL, ReceivedEvent, RelatedResource, Resource
from flowyard.store.dialects import Dialect
from flowyard.store.tables import ID, JSON, TEXT, TIME, metadata

event = Table(
    "event",
    metadata,
    Column("id", ID, primary_key=True),
    Column("occurred", TIME, nullable=False),
    Column("event", TEXT, nullable=False),
    Column("resource_id", TEXT, nullable=False),
    Column("resource", JSON, nullable=False),
    Column("related", JSON, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("received", TIME, nullable=False),
    # When it was written here: what streams go by, since an event can come long after it occurred.
    Column("recorded", TIME, nullable=False),
    Column("follows", ID),
    # Pages by time, of all events and of one kind; what retention deletes.
    Index("ix_event__occurred_id", "occurred", "id"),
    Index("ix_event__event_occurred_id", "event", "occurred", "id"),
    # What is new since a stream looked.
    Index("ix_event__recorded", "recorded"),
)

event_resource = Table(
    "event_resource",
    metadata,
    Column("event_id", ID, primary_key=True),
    # 0 is the resource that the event is about; related ones follow.
    Column("position", Integer, primary_key=True),
    Column("resource_id", TEXT, nullable=False),
    Column("role", Text, nullable=False),
    Column("occurred", TIME, nullable=False),
    Column("labels", JSON, nullable=False),
    # The events of a resource, in whatever role, newest first.
    Index("ix_event_resource__resource_id_occurred", "resource_id", "occurred"),
    sqlite_with_rowid=False,
)


def record(connection: Connection, dialect: Dialect, events: Sequence[ReceivedEvent], *, now: datetime) -> None:
    """Store events; those whose id is there already stay as they are."""
    if not events:
        return
    rows = [
        {
            "id": each.id,
            "occurred": each.occurred,
            "event": each.event,
            "resource_id": each.resource.root[ID_LABEL],
            "resource": each.resource.root,
            "related": [related.root for related in each.related],
            "payload": each.payload,
            "received": each.received,
            # In the order in which they came: streams go by this time.
            "recorded": now + timedelta(microseconds=position),
            "follows": each.follows,
        }
        for position, each in enumerate(events)
    ]
    connection.execute(dialect.insert(event).on_conflict_do_nothing(), rows)
    resources = [
        {
            "event_id": each.id,
            "position": position,
            "resource_id": labels[ID_LABEL],
            "role": labels.get(ROLE_LABEL, "") if position else "",
            "occurred": each.occurred,
            "labels": labels,
        }
        for each in events
        for position, labels in enumerate([each.resource.root, *(related.root for related in each.related)])
    ]
    connection.execute(dialect.insert(event_resource).on_conflict_do_nothing(), resources)


def remove_before(connection: Connection, time: datetime, *, limit: int) -> int:
    """Delete events that occurred before a time, the oldest first and at most so many; return how many there were."""
    old = select(event.c.id).where(event.c.occurred < time).order_by(event.c.occurred).limit(limit)
    # Locked, so that another server that does the same passes over them.
    ids = connection.execute(old.with_for_update(skip_locked=True)).scalars().all()
    connection.execute(delete(event_resource).where(event_resource.c.event_id.in_(ids)))
    return connection.execute(delete(event).where(event.c.id.in_(ids))).rowcount


def event_of(row: Row[Any]) -> ReceivedEvent:
    """Return the event of a row."""
    return ReceivedEvent(
        id=row.id,
        occurred=row.occurred,
        event=row.event,
        resource=Resource(row.resource),
        related=[RelatedResource(labels) for labels in row.related],
        payload=row.payload,
        received=row.received,
        follows=row.follows,
    )
