"""Cancels what belongs to cancelled flow runs: task runs that have not ended, and subflows.

Safe in several replicas at once: each run is locked and judged by the state it then has.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.states import FINAL_TYPES, State, StateType
from flowyard.services.reported_flow_runs import propose_flow_run_state
from flowyard.services.reported_runs import propose_task_run_state
from flowyard.services.store_access import StoreAccess
from flowyard.store import due_runs, flow_runs, flow_task_runs, leases
from flowyard.store.plain import PlainConnection

_LOOKS_BACK = timedelta(days=1)
_AT_A_TIME = 100
_MESSAGE = "The parent flow run was cancelled."


class CancellationCleanup:
    """Looks at the flow runs that were cancelled within a day."""

    name = "cancellation clean-up"

    def __init__(self, access: StoreAccess) -> None:
        self._access = access

    def run_once(self, now: datetime) -> int:
        """Cancel what is left over; return how many task runs and subflows these were."""
        since = now - _LOOKS_BACK
        done = 0
        subflows = self._access.read(
            lambda connection: due_runs.subflows_of_cancelled(connection, since=since, limit=_AT_A_TIME)
        )
        if subflows:
            done += self._access.change_plainly(lambda connection: _cancel_subflows(connection, subflows, now))
        runs = self._access.read(
            lambda connection: due_runs.cancelled_with_tasks(connection, since=since, limit=_AT_A_TIME)
        )
        for flow_run_id in runs:
            done += self._access.change_plainly(
                lambda connection, flow_run_id=flow_run_id: _cancel_tasks(connection, flow_run_id, now)
            )
        return done


def _cancel_tasks(connection: PlainConnection, flow_run_id: UUID, now: datetime) -> int:
    try:
        run = flow_runs.lock(connection, flow_run_id)
    except ObjectNotFound:
        return 0
    if run.state_type is not StateType.CANCELLED or leases.is_held(connection, flow_run_id):
        # Its process still records what its task runs do.
        return 0
    # What that process may still send is about task runs that have ended here.
    leases.revoke(connection, flow_run_id)
    # These end when the subflow does.
    mirrors = due_runs.tasks_of_subflows(connection.core, flow_run_id)
    done = 0
    for task_run in flow_task_runs.unfinished(connection, flow_run_id):
        if task_run.id in mirrors:
            continue
        state = State[None](StateType.CANCELLED, None, _MESSAGE, timestamp=now)
        result = propose_task_run_state(connection, task_run.id, state, force=True, now=now, slot_wait_seconds=0.0)
        done += result.has_entered
    return done


def _cancel_subflows(connection: PlainConnection, ids: Sequence[UUID], now: datetime) -> int:
    done = 0
    for flow_run_id in ids:
        try:
            run = flow_runs.lock(connection, flow_run_id)
        except ObjectNotFound:
            continue
        if run.state_type in FINAL_TYPES or run.state_type is StateType.CANCELLING:
            continue
        # A deployed one has infrastructure that somebody must stop first.
        kind = StateType.CANCELLED if run.deployment_id is None else StateType.CANCELLING
        state = State[None](kind, None, _MESSAGE, timestamp=now)
        _, result = propose_flow_run_state(connection, flow_run_id, state, force=False, now=now)
        done += result.has_entered
    return done
