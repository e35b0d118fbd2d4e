"""The log lines that are new to somebody who streams them."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from flowyard.schemas.api.logs import Log, LogFilter
from flowyard.schemas.api.sorting import LogSort
from flowyard.schemas.runs import utcnow
from flowyard.server.gateway import Gateway
from flowyard.server.seen import Seen
from flowyard.store import served_logs
from flowyard.store.encoding import to_microseconds

_AT_ONCE = 1_000
# Lines of a worker far away come in this much later than they were written, at most, to be sent.
_OVERLAP = timedelta(seconds=10)
MOST_RUNS = 50
"""Flow runs that one stream can follow."""


class NewLogs:
    """The lines that a filter takes, from now on or from a time on, each once. Its methods block.

    Args:
        gateway: to the database.
        where: which lines; it must name flow runs, because lines are kept by these.
        since: the time of the last line that somebody has; the present time by default.

    Raises:
        ValueError: the filter names no flow runs, or more than 50.
    """

    def __init__(self, gateway: Gateway, where: LogFilter, *, since: datetime | None = None) -> None:
        runs = where.flow_run_id.any_ if where.flow_run_id is not None else None
        if not runs or len(runs) > MOST_RUNS:
            raise ValueError(f"a stream of logs names between 1 and {MOST_RUNS} flow runs in flow_run_id.any_")
        self._gateway = gateway
        self._where = where
        self.cursor = since or utcnow()
        """The time of the last line that was returned."""
        self._seen = Seen()

    def begin(self) -> None:
        """Leave out what is there."""
        self.look()

    def look(self) -> list[Log]:
        """Return what is new, in the order of time."""
        milliseconds = to_microseconds(self.cursor - _OVERLAP) // 1_000
        # Ids of lines are made from their times.
        after = UUID(int=max(milliseconds, 0) << 80)
        new: list[Log] = []
        while True:
            place = after
            page = self._gateway.read(
                lambda connection, place=place: served_logs.read_many(
                    connection, self._where, sort=LogSort.TIMESTAMP_ASC, limit=_AT_ONCE, offset=0, after=place
                )
            )
            new += [line for line in page if self._seen.add(line.id)]
            if page:
                after = page[-1].id
                self.cursor = max(self.cursor, page[-1].timestamp)
            if len(page) < _AT_ONCE:
                return new
