"""Ends flow runs that were paused and that nobody resumed in time.

Safe in several replicas at once: a run is ended only if it is in the same state when it is locked.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.states import State, StateType
from flowyard.services.reported_flow_runs import propose_flow_run_state
from flowyard.services.store_access import StoreAccess
from flowyard.store import due_runs, flow_runs
from flowyard.store.plain import PlainConnection


class PauseExpirations:
    """Marks as Failed what was paused for longer than it may be."""

    name = "pause expirations"

    def __init__(self, access: StoreAccess) -> None:
        self._access = access

    def run_once(self, now: datetime) -> int:
        """End all whose time is over at `now`; return how many these were."""
        found = self._access.read(lambda connection: due_runs.pauses_timed_out(connection, now=now))
        if not found:
            return 0
        return self._access.change_plainly(
            lambda connection: sum(_end(connection, flow_run_id, state_id, now) for flow_run_id, state_id in found)
        )


def _end(connection: PlainConnection, flow_run_id: UUID, state_id: UUID, now: datetime) -> bool:
    try:
        run = flow_runs.lock(connection, flow_run_id)
    except ObjectNotFound:
        return False
    if run.state is None or run.state.id != state_id:
        return False
    state = State[None](StateType.FAILED, None, "The flow was paused and never resumed.", timestamp=now)
    _, result = propose_flow_run_state(connection, flow_run_id, state, force=True, now=now)
    return result.has_entered
