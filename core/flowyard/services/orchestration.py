"""Transitions of flow runs, as a compare-and-set: read, decide with `rules`, write, in one transaction."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from flowyard.exceptions import LeaseLost
from flowyard.ports import Lease
from flowyard.rules.bookkeeping import apply_decision
from flowyard.rules.decision import Decision
from flowyard.rules.flow_runs import decide_flow_run
from flowyard.schemas.orchestration import OrchestrationResult, Verdict
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import State
from flowyard.store import flow_runs, leases, states
from flowyard.store.plain import PlainConnection


def propose_flow_run_state(
    connection: PlainConnection,
    flow_run_id: UUID,
    state: State[Any],
    *,
    lease: Lease | None,
    force: bool,
    now: datetime,
) -> tuple[FlowRun, OrchestrationResult]:
    """Decide on a proposed state of a flow run and write what was decided.

    Returns the run as it is afterwards and the answer; a final state, or a suspension, releases the lease.

    Raises:
        ObjectNotFound: there is no such flow run.
        LeaseLost: `lease` is not the current one.
    """
    run = flow_runs.lock(connection, flow_run_id)
    if run.state is not None and run.state.id == state.id:
        # It was written, but the answer got lost.
        return run, OrchestrationResult(Verdict.ACCEPT, run.state)
    if lease is not None and not leases.is_current(connection, flow_run_id, lease.token):
        raise LeaseLost(str(flow_run_id))
    before = run.state
    result = enter_decided(run, state, force=force, now=now)
    if result.has_entered:
        write_state(connection, run, before)
        if leaves_process(run):
            leases.release(connection, flow_run_id)
    return run, result


def enter_decided(run: FlowRun, state: State[Any], *, force: bool, now: datetime) -> OrchestrationResult:
    """Put a run into the state that the rules decide on when one is proposed; nothing is written yet."""
    decision = decide(run, state, force=force, now=now)
    has_entered = apply_decision(run, decision)
    return OrchestrationResult(decision.verdict, run.state, decision.reason, decision.delay_seconds, has_entered)


def leaves_process(run: FlowRun) -> bool:
    """Say whether no process executes a run in its state: it has ended, or waits to be started again.

    A suspended run has left its process and waits for another one; a paused one is held by its own.
    """
    state = run.state
    return state is not None and (
        state.is_final() or (state.is_paused() and bool(state.state_details.pause_reschedule))
    )


def decide(run: FlowRun, state: State[Any], *, force: bool, now: datetime) -> Decision:
    """Return what the rules say about a proposed state; the state that is to be entered says whose it is."""
    spread = random.random() if run.policy.jitter_factor else None
    decision = decide_flow_run(run, state, now=now, force=force, spread=spread)
    if decision.state is not None:
        details = decision.state.state_details
        details = replace(details, flow_run_id=run.id, task_run_id=run.parent_task_run_id or details.task_run_id)
        decision.state.state_details = details
    return decision


def write_state(connection: PlainConnection, run: FlowRun, before: State[Any] | None) -> None:
    """Store the state that a run has just entered after the one `before`, and what it changed."""
    assert run.state is not None
    states.insert_flow_run_state(connection, run.id, run.state)
    flow_runs.store_progress(connection, run)
    if connection.happenings is not None:
        connection.happenings.flow_run_entered(run, before)


class Entered(NamedTuple):
    """A flow run that has just entered a state."""

    run: FlowRun
    before: State[Any] | None
    """The state that it was in."""


def write_all(connection: PlainConnection, entered: Sequence[Entered]) -> None:
    """Do what `write_state` does for many flow runs."""
    states.insert_flow_run_states(connection, ((run.id, run.state) for run, _ in entered if run.state is not None))
    flow_runs.store_progress_of(connection, (run for run, _ in entered))
    if connection.happenings is not None:
        for run, before in entered:
            connection.happenings.flow_run_entered(run, before)
