"""Says of flow runs that they are late.

Safe in several replicas at once: a run is marked only if it still waits when it is locked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.services.reported_flow_runs import propose_flow_run_state
from flowyard.services.store_access import StoreAccess
from flowyard.settings import Settings
from flowyard.store import due_runs, flow_runs
from flowyard.store.plain import PlainConnection

_AT_A_TIME = 100
"""Others wait while a batch is written."""


class LateRuns:
    """Marks as Late what still waits some seconds after its time."""

    name = "late runs"

    def __init__(self, access: StoreAccess, settings: Settings) -> None:
        self._access = access
        self._after = settings.FLOWYARD_API_SERVICES_LATE_RUNS_AFTER_SECONDS

    def run_once(self, now: datetime) -> int:
        """Mark all that are late at `now`; return how many these were."""
        marked = 0
        due_before = now - self._after
        while True:
            ids = self._access.read(
                lambda connection: due_runs.late(connection, due_before=due_before, limit=_AT_A_TIME)
            )
            if not ids:
                return marked
            done = self._access.change_plainly(lambda connection, ids=ids: _mark(connection, ids, due_before, now))
            marked += done
            if done < len(ids):
                # Somebody else is at it; what is left is for the next time.
                return marked


def _mark(connection: PlainConnection, ids: Sequence[UUID], due_before: datetime, now: datetime) -> int:
    marked = 0
    for flow_run_id in ids:
        try:
            run = flow_runs.lock(connection, flow_run_id)
        except ObjectNotFound:
            continue
        due = run.next_scheduled_start_time
        if run.state_type is not StateType.SCHEDULED or run.state_name != "Scheduled" or due is None:
            continue
        if due <= due_before:
            state = State[None](StateType.SCHEDULED, "Late", None, None, StateDetails(scheduled_time=due), now)
            _, result = propose_flow_run_state(connection, flow_run_id, state, force=False, now=now)
            marked += result.has_entered
    return marked
