"""Task runs whose client reports each state over the REST API: made, and moved from state to state as the rules say.

Each transition is a compare-and-set: the run is locked, the facts are looked up, `rules` decide, and what they decided
is written in the same transaction. Two clients at once: the second one is judged by what the first one left. Flow runs
are in `reported_flow_runs`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.rules.bookkeeping import apply_decision, enter_state
from flowyard.rules.decision import Decision, wait
from flowyard.rules.task_runs import TagSlots, TaskRunFacts, cache_entry, decide_task_run, releases_slots
from flowyard.schemas.limits import TAG_PREFIX, SlotRequest
from flowyard.schemas.orchestration import OrchestrationResult, Verdict
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.store import flow_runs, leases, reported_task_runs, slot_calls, slots, states, tag_slots
from flowyard.store.dialects import Dialect
from flowyard.store.plain import PlainConnection
from flowyard.store.rollups import RollupKey, RollupWriter


def create_task_run(connection: PlainConnection, run: TaskRun, state: State[Any]) -> tuple[UUID, bool]:
    """Store a task run with its first state; return its id, and whether it was made now.

    One of the same flow run with the same keys is returned as it is.

    Raises:
        ObjectNotFound: there is no such flow run.
        ObjectAlreadyExists: there is a task run of that id.
    """
    if run.flow_run_id is not None:
        keys = (run.flow_run_id, run.task_key, run.dynamic_key)
        found = reported_task_runs.find(connection, *keys)
        if found is None and not flow_runs.is_there(connection, run.flow_run_id):
            raise ObjectNotFound("flow run", run.flow_run_id)
        if found is None and not reported_task_runs.claim(connection, *keys, run.id):
            # Another replica was faster; its transaction is over now.
            found = reported_task_runs.find(connection, *keys)
        if found is not None:
            return found, False
    state.state_details = replace(state.state_details, flow_run_id=run.flow_run_id, task_run_id=run.id)
    enter_state(run, state)
    reported_task_runs.insert(connection, run)
    _record_state(connection, run, None)
    return run.id, True


def propose_task_run_state(
    connection: PlainConnection,
    task_run_id: UUID,
    state: State[Any],
    *,
    force: bool,
    now: datetime,
    slot_wait_seconds: float,
) -> OrchestrationResult:
    """Decide on a proposed state of a task run and write what was decided.

    Raises:
        ObjectNotFound: there is no such task run, or its flow run is gone.
    """
    run = reported_task_runs.lock(connection, task_run_id)
    if run.flow_run_id is not None and leases.is_held(connection, run.flow_run_id):
        reason = "the process that executes the flow run records its task runs itself"
        return OrchestrationResult(Verdict.ABORT, run.state, reason)
    facts, tag_limits = _facts(connection, run, state, now=now, slot_wait_seconds=slot_wait_seconds)
    spread = random.random() if run.policy.jitter_factor else None
    decision = decide_task_run(run, state, now=now, facts=facts, force=force, spread=spread)
    if decision.take_slots:
        decision = _take_slots(connection, run, decision, tag_limits, facts, now)
    before = run.state
    if decision.state is not None:
        details = decision.state.state_details
        decision.state.state_details = replace(details, flow_run_id=run.flow_run_id, task_run_id=run.id)
    if apply_decision(run, decision):
        assert run.state is not None
        write(connection, run, before)
        entry = None if force and run.flow_run_id is not None else cache_entry(run.state)
        if entry is not None:
            reported_task_runs.store_cached(connection, entry, run.id, now)
        if run.tags and releases_slots(run.state) and tag_slots.are_held(connection, run.id):
            slots.release(connection, [run.id], occupancy_seconds=None, now=now)
    has_entered = decision.state is not None
    return OrchestrationResult(decision.verdict, run.state, decision.reason, decision.delay_seconds, has_entered)


def _facts(
    connection: PlainConnection, run: TaskRun, proposed: State[Any], *, now: datetime, slot_wait_seconds: float
) -> tuple[TaskRunFacts, tuple[str, ...]]:
    """Look up what the rules ask of the transition, and the names of the limits that it counts against."""
    if proposed.type is not StateType.RUNNING:
        return TaskRunFacts(), ()
    flow_type, flow_count, paused = _flow_run_facts(connection, run)
    details = proposed.state_details
    cached = None
    if details.cache_key is not None and not details.refresh_cache:
        cached = reported_task_runs.cached_state(connection, details.cache_key, now)
    found = tag_slots.read_many(connection, run.tags, held_by=run.id) if run.tags else ()
    slots = tuple(TagSlots(*one) for one in found)
    facts = TaskRunFacts(
        flow_run_state_type=flow_type,
        flow_run_run_count=flow_count,
        cached_state=cached,
        slots=slots,
        slot_wait_seconds=slot_wait_seconds,
        pause_timeout=paused.pause_timeout,
        pause_reschedule=paused.pause_reschedule,
    )
    return facts, tuple(TAG_PREFIX + one.tag for one in slots)


def _flow_run_facts(connection: PlainConnection, run: TaskRun) -> tuple[StateType | None, int, StateDetails]:
    if run.flow_run_id is None:
        return None, 0, StateDetails()
    query = "SELECT state_type, run_count, state_id FROM flow_run WHERE id = ?"
    rows = connection.rows(query, run.flow_run_id)
    if not rows:
        raise ObjectNotFound("flow run", run.flow_run_id)
    row = rows[0]
    kind = None if row.state_type is None else StateType(row.state_type)
    details = StateDetails()
    if kind is StateType.PAUSED:
        condition = "flow_run_id = ? AND id = ?"
        found = connection.rows(
            f"SELECT state_details FROM flow_run_state WHERE {condition}", run.flow_run_id, row.state_id
        )
        details = StateDetails.from_record(found[0].state_details or {}) if found else details
    return kind, row.run_count, details


def _take_slots(
    connection: PlainConnection,
    run: TaskRun,
    decision: Decision,
    names: Sequence[str],
    facts: TaskRunFacts,
    now: datetime,
) -> Decision:
    """Take the slots that a decision asks for, all or none; a request that came earlier and waits has them first."""
    request = SlotRequest(names=tuple(names), slots=1, lease_id=run.id, flow_run_id=run.flow_run_id, task_run_id=run.id)
    answer = slots.acquire(connection, request, owner_id=slot_calls.NOBODY, now=now, is_queued=False)
    if answer.is_granted:
        return decision
    return wait(facts.slot_wait_seconds, f"others wait longer for a slot of {answer.blocked_by!r}")


def write(connection: PlainConnection, run: TaskRun, before: State[Any] | None) -> None:
    """Store the state that a run has just entered, and what it changed."""
    state = run.state
    assert state is not None
    if state.state_details.cache_key is not None:
        run.cache_key = state.state_details.cache_key
        run.cache_expiration = state.state_details.cache_expiration
    reported_task_runs.store(connection, run)
    _record_state(connection, run, before)


def _record_state(connection: PlainConnection, run: TaskRun, before: State[Any] | None) -> None:
    assert run.state is not None
    states.insert_task_run_state(connection, run.id, run.state)
    if connection.happenings is not None:
        connection.happenings.task_run_entered(run, before)
    if run.flow_run_id is None:
        return
    deltas: dict[RollupKey, int] = {}
    for counted, delta in ((before, -1), (run.state, 1)):
        if counted is not None:
            key = (run.flow_run_id.int, run.task_name, counted.name, counted.type.value)
            deltas[key] = deltas.get(key, 0) + delta
    _rollups(connection.dialect)(connection, deltas)


@lru_cache(maxsize=4)
def _rollups(dialect: Dialect) -> RollupWriter:
    return RollupWriter(dialect)
