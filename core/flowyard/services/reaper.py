"""Finds runs whose process is dead and says so."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.rules.bookkeeping import enter_state, keep_order
from flowyard.rules.crashes import reaped_state, unrecorded_state
from flowyard.rules.decision import RunState
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.services import ownership
from flowyard.services.orchestration import write_state
from flowyard.store import flow_runs, flow_task_runs, leases, rollups, states
from flowyard.store.leases import HeldLease
from flowyard.store.plain import PlainConnection

Crashed = Callable[[StateDetails], RunState]
"""Makes the state of a run, given its ids."""

_logger = logging.getLogger("flowyard.reaper")


def find_dead(held: Collection[HeldLease], *, now: datetime, is_shared_file: bool) -> list[HeldLease]:
    """Return the leases whose process is dead. Looks at each process once."""
    alive: dict[tuple[UUID, datetime | None], bool] = {}
    dead: list[HeldLease] = []
    for lease in held:
        key = (lease.owner.id, lease.expires)
        if key not in alive:
            alive[key] = ownership.is_alive(lease, now=now, is_shared_file=is_shared_file)
        if not alive[key]:
            dead.append(lease)
    return dead


def reap(connection: PlainConnection, dead: Collection[HeldLease], *, now: datetime) -> list[UUID]:
    """Take the runs of dead processes away from them and mark as Crashed what they had not finished.

    Returns the flow runs that were marked. A lease that changed hands since it was looked at is left alone.
    """
    crashed: list[UUID] = []
    for lease in dead:
        if not leases.is_current(connection, lease.flow_run_id, lease.token):
            continue
        if lease.flow_run_id == lease.owner.id:  # for what happened outside of flow runs: there is no run to mark
            leases.leave(connection, lease.owner.id)
        elif crash_flow_run(connection, lease.flow_run_id, str(lease.owner), now=now):
            crashed.append(lease.flow_run_id)
    return crashed


def crash_flow_run(connection: PlainConnection, flow_run_id: UUID, owner: str, *, now: datetime) -> bool:
    """Mark a flow run and its unfinished task runs as Crashed and fence its owner off; False when it had ended."""
    run = _crash(connection, flow_run_id, lambda details: reaped_state(owner, now=now, details=details))
    if run is not None:
        _logger.warning("flow run %r (%s) is Crashed: %s is gone", run.name, flow_run_id, owner)
    return run is not None


def crash_unrecorded(connection: PlainConnection, flow_run_id: UUID, cause: str, *, now: datetime) -> bool:
    """Do the same for a run of this process that ended when nothing could be written; `cause` says why."""
    run = _crash(connection, flow_run_id, lambda details: unrecorded_state(cause, now=now, details=details))
    if run is not None:
        _logger.warning("flow run %r (%s) is Crashed: it ended when nothing could be written", run.name, flow_run_id)
    return run is not None


def _crash(connection: PlainConnection, flow_run_id: UUID, crashed: Crashed) -> FlowRun | None:
    try:
        run = flow_runs.lock(connection, flow_run_id)
    except ObjectNotFound:
        leases.leave(connection, flow_run_id)
        return None
    leases.revoke(connection, flow_run_id)
    if run.state is not None and run.state.is_final():
        return None
    before = run.state
    ended = _cancelled_by(crashed) if run.state is not None and run.state.is_cancelling() else crashed
    _crash_task_runs(connection, flow_run_id, ended)
    state = ended(StateDetails(flow_run_id=flow_run_id, task_run_id=run.parent_task_run_id))
    keep_order(before, state)
    enter_state(run, state)
    write_state(connection, run, before)
    return run


def _cancelled_by(crashed: Crashed) -> Crashed:
    """Return the state of what somebody wanted to end, and whose process has ended."""

    def cancelled(details: StateDetails) -> State[Any]:
        state = crashed(details)
        message = f"The run was cancelled. {state.message}"
        return State(StateType.CANCELLED, None, message, None, details, state.timestamp)

    return cancelled


def crash_task_runs(connection: PlainConnection, flow_run_id: UUID, owner: str, *, now: datetime) -> None:
    """Mark the unfinished task runs of a flow run as Crashed."""
    _crash_task_runs(connection, flow_run_id, lambda details: reaped_state(owner, now=now, details=details))


def _crash_task_runs(connection: PlainConnection, flow_run_id: UUID, crashed: Crashed) -> None:
    deltas: dict[rollups.RollupKey, int] = {}
    for run in flow_task_runs.unfinished(connection, flow_run_id):
        before = run.state
        state = crashed(StateDetails(flow_run_id=flow_run_id, task_run_id=run.id))
        keep_order(before, state)
        enter_state(run, state)
        flow_task_runs.store_state(connection, run)
        states.insert_task_run_state(connection, run.id, state)
        if connection.happenings is not None:
            connection.happenings.task_run_entered(run, before)
        for counted, delta in ((before, -1), (state, 1)):
            if counted is not None:
                key = (flow_run_id.int, run.task_name, counted.name, counted.type.value)
                deltas[key] = deltas.get(key, 0) + delta
    rollups.RollupWriter(connection.dialect)(connection, deltas)
