"""The events that are new to somebody who streams them."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from flowyard.schemas.api.events import EventFilter, ReceivedEvent
from flowyard.schemas.api.sorting import EventOrder
from flowyard.schemas.runs import utcnow
from flowyard.server.gateway import Gateway
from flowyard.server.seen import Seen
from flowyard.store import event_lists

LOOK_SECONDS = 1.0
"""How long at most a stream does not see what another server process stored."""
_AT_ONCE = 500
_BACKFILL = 1_000
# What began earlier can be seen later; and the events of a batch have times of their own, from its time on.
_OVERLAP = timedelta(seconds=5)


class NewEvents:
    """The events that a filter takes, from now on or from a time on, each once. Its methods block.

    Args:
        gateway: to the database.
        where: which events.
        since: when the last event was stored that somebody has; the present time by default.
    """

    def __init__(self, gateway: Gateway, where: EventFilter, *, since: datetime | None = None) -> None:
        self._gateway = gateway
        self._where = where
        self.cursor = since or utcnow()
        """When the last event was stored that was returned."""
        self._seen = Seen()

    def begin(self, *, backfills: bool) -> list[ReceivedEvent]:
        """Leave out what is there; with `backfills` return the last 1,000 of it, oldest first."""
        for _, event in self._since(self.cursor - _OVERLAP):
            self._seen.add(event.id)
        if not backfills:
            return []
        newest = self._where.model_copy(update={"order": EventOrder.DESC})
        found = self._gateway.read(
            lambda connection: event_lists.read_page(connection, self._gateway.dialect, newest, limit=_BACKFILL)
        )
        for event in found:
            self._seen.add(event.id)
        return found[::-1]

    def look(self) -> list[ReceivedEvent]:
        """Return what is new, in the order in which it was stored."""
        found = self._since(self.cursor - _OVERLAP)
        new = [event for _, event in found if self._seen.add(event.id)]
        if found:
            self.cursor = max(self.cursor, found[-1][0])
        return new

    def _since(self, time: datetime) -> list[tuple[datetime, ReceivedEvent]]:
        found: list[tuple[datetime, ReceivedEvent]] = []
        after: tuple[datetime, UUID] | None = None
        while True:
            place = after
            page = self._gateway.read(
                lambda connection, place=place: event_lists.read_recorded(
                    connection, self._gateway.dialect, self._where, since=time, after=place, limit=_AT_ONCE
                )
            )
            found += page
            if len(page) < _AT_ONCE:
                return found
            after = (page[-1][0], page[-1][1].id)
