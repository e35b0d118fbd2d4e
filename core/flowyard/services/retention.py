"""Deletes what is older than the settings say: flow runs with all that was recorded about them, and events.

Not the files of results, which a server cannot reach: `flowyard gc` finds those of runs that are gone. Never what goes
on, nor what somebody uses: runs that have not ended or that a fork needs, variables, blocks, limits, values of the
cache. Safe in several replicas at once: what one of them has deleted the others do not find.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy.engine import Connection

from flowyard.ports import ControlPlane
from flowyard.services.old_runs import delete_old, old_families
from flowyard.services.store_access import StoreAccess
from flowyard.settings import Settings
from flowyard.store import events, loose_records

_logger = logging.getLogger("flowyard.retention")
_ROWS_AT_A_TIME = 1_000
"""Others wait while so many rows are deleted: about 20 ms."""
_MOST_RUNS = 1_000
_MOST_ROWS = 100_000
"""What is left of a pass that would take long: the next one does the rest."""
_Remove = Callable[[Connection], int]


@dataclass(slots=True)
class Deleted:
    """How many objects a pass has deleted."""

    flow_runs: int = 0
    task_runs: int = 0
    """Those that belong to no flow run."""
    logs: int = 0
    """Those that belong to no flow run."""
    events: int = 0

    def total(self) -> int:
        """Return how many there are in all."""
        return sum(asdict(self).values())


class Retention:
    """Looks for what is too old, and deletes it in transactions of a few milliseconds.

    Args:
        control: where the runs are.
        access: to the same database.
        settings: how long what is kept.
        on_deleted: told after a pass that deleted something.
    """

    name = "retention"

    def __init__(
        self,
        control: ControlPlane,
        access: StoreAccess,
        settings: Settings,
        *,
        on_deleted: Callable[[Deleted], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._access = access
        self._runs_for = settings.FLOWYARD_RETENTION_PERIOD
        self._events_for = settings.FLOWYARD_EVENTS_RETENTION_PERIOD
        self._on_deleted = on_deleted

    def run_once(self, now: datetime) -> int:
        """Delete what is too old at `now`; return how many objects these were."""
        begin = time.perf_counter()
        deleted = Deleted()
        before = now - self._events_for
        deleted.events = self._in_parts(
            lambda connection: events.remove_before(connection, before, limit=_ROWS_AT_A_TIME)
        )
        if self._runs_for is not None:
            self._delete_runs(now - self._runs_for, deleted)
        seconds = time.perf_counter() - begin
        if deleted.total():
            _logger.info("deleted in %.1f s: %s", seconds, _in_words(deleted))
            self._on_deleted(deleted)
        else:
            _logger.debug("nothing is too old; looked for %.3f s", seconds)
        return deleted.total()

    def _delete_runs(self, before: datetime, deleted: Deleted) -> None:
        for _, members in old_families(self._control, before, most=_MOST_RUNS):
            for flow_run_id in members:
                deleted.flow_runs += delete_old(self._control, flow_run_id, before)
        deleted.task_runs = self._in_parts(
            lambda connection: loose_records.remove_task_runs(connection, before, limit=_ROWS_AT_A_TIME)
        )
        deleted.logs = self._in_parts(
            lambda connection: loose_records.remove_logs(connection, before, limit=_ROWS_AT_A_TIME)
        )

    def _in_parts(self, remove: _Remove) -> int:
        total = 0
        while total < _MOST_ROWS:
            found = self._access.change_plainly(lambda connection: remove(connection.core))
            total += found
            if found < _ROWS_AT_A_TIME:
                break
        return total


def _in_words(deleted: Deleted) -> str:
    return ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in asdict(deleted).items() if number)
