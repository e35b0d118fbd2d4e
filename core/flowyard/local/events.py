"""Events in the database of this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from typing_extensions import override

from flowyard.journal.sql import SqlJournal
from flowyard.ports.events import EventStore
from flowyard.schemas.api.events import Event, ReceivedEvent
from flowyard.store import events as store
from flowyard.store.dialects import Dialect


class LocalEvents(EventStore):
    """Writes on the journal's writer thread."""

    def __init__(self, dialect: Dialect, journal: SqlJournal) -> None:
        self._dialect = dialect
        self._journal = journal

    @override
    def emit(self, events: Sequence[Mapping[str, Any]]) -> None:
        now = datetime.now(UTC)
        received = [ReceivedEvent(**dict(Event.model_validate(event)), received=now) for event in events]
        self._journal.execute(lambda connection: store.record(connection, self._dialect, received, now=now))
