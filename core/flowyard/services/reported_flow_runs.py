"""Flow runs whose client reports each state over the REST API: made, and moved from state to state as the rules say.

Each transition is a compare-and-set: the run is locked, the facts are looked up, `rules` decide, and what they decided
is written in the same transaction. Two clients at once: the second one is judged by what the first one left. What many
clients want at the same time is done with a statement for all of them, in a third of the time that one for each takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from flowyard.exceptions import ObjectNotFound
from flowyard.rules.bookkeeping import enter_state
from flowyard.rules.flow_runs import mirrored_state
from flowyard.schemas.orchestration import OrchestrationResult
from flowyard.schemas.runs import FlowRun, utcnow
from flowyard.schemas.states import State
from flowyard.services import orchestration, resuming
from flowyard.services.reported_runs import write
from flowyard.store import flow_runs, flows, leases, reported_task_runs, slots, states, tag_slots
from flowyard.store.flow_runs import Origin
from flowyard.store.plain import PlainConnection


class NewFlowRun(NamedTuple):
    """A flow run that a client makes."""

    make: Callable[[], tuple[FlowRun, State[Any]]]
    """Returns it and its first state; called again when the transaction is."""
    origin: Origin


class MadeFlowRun(NamedTuple):
    """What became of it."""

    run: FlowRun
    """As it was sent."""
    id: UUID
    """Of the one that is there."""
    is_new: bool
    """False: one of the same flow with the same idempotency key was there already, and was left as it is."""


class ProposedState(NamedTuple):
    """A state that a client proposes for a flow run."""

    flow_run_id: UUID
    make: Callable[[], State[Any]]
    """Returns it; called again when the transaction is."""
    force: bool


class _Proposal(NamedTuple):
    flow_run_id: UUID
    state: State[Any]
    force: bool


_Proposed = tuple[FlowRun, OrchestrationResult] | Exception


def create_flow_runs(connection: PlainConnection, wishes: Sequence[NewFlowRun]) -> list[MadeFlowRun | Exception]:
    """Store flow runs with their first states; in the place of one that has no flow is an `ObjectNotFound`."""
    wanted = [_made(wish.make) for wish in wishes]
    flow_names = flows.names_of(connection, {made[0].flow_id for made in wanted if not isinstance(made, Exception)})
    results: list[MadeFlowRun | Exception] = []
    entered: list[FlowRun] = []
    without_keys: list[tuple[FlowRun, Origin]] = []
    for made, (_, origin) in zip(wanted, wishes, strict=True):
        if isinstance(made, Exception):
            results.append(made)
            continue
        run, state = made
        found = _found(connection, run)
        if found is not None:
            results.append(MadeFlowRun(run, found, is_new=False))
            continue
        flow_name = flow_names.get(run.flow_id)
        if flow_name is None:
            results.append(ObjectNotFound("flow", run.flow_id))
            continue
        run.flow_name = flow_name
        state.state_details = replace(state.state_details, flow_run_id=run.id, task_run_id=run.parent_task_run_id)
        enter_state(run, state)
        if run.idempotency_key is None:
            without_keys.append((run, origin))
        elif not flow_runs.insert_once(connection, run, origin):
            # Another replica was faster; its transaction is over now.
            found = _found(connection, run)
            assert found is not None
            results.append(MadeFlowRun(run, found, is_new=False))
            continue
        entered.append(run)
        results.append(MadeFlowRun(run, run.id, is_new=True))
    flow_runs.insert_served(connection, without_keys)
    states.insert_flow_run_states(connection, ((run.id, run.state) for run in entered if run.state is not None))
    for run in entered:
        if connection.happenings is not None:
            connection.happenings.flow_run_entered(run, None)
        mirror_subflow(connection, run)
    return results


def create_flow_run(connection: PlainConnection, run: FlowRun, state: State[Any], origin: Origin) -> tuple[UUID, bool]:
    """Store a flow run with its first state; return its id, and whether it was made now.

    A run of the same flow with the same idempotency key is returned as it is.

    Raises:
        ObjectNotFound: there is no such flow.
    """
    (made,) = create_flow_runs(connection, [NewFlowRun(lambda: (run, state), origin)])
    if isinstance(made, Exception):
        raise made
    return made.id, made.is_new


def _made(make: Callable[[], Any]) -> Any:
    # What a client sent may be refused only when it is looked at as a whole: that is nobody else's business.
    try:
        return make()
    except Exception as error:
        return error


def _found(connection: PlainConnection, run: FlowRun) -> UUID | None:
    key = run.idempotency_key
    return None if key is None else flow_runs.find(connection, run.flow_id, key)


def propose_flow_run_states(
    connection: PlainConnection, wishes: Sequence[ProposedState]
) -> list[OrchestrationResult | Exception]:
    """Decide on proposed states of flow runs, write what was decided, and return what became of each.

    In the place of one for a run that there is not is an `ObjectNotFound`.
    """
    results: dict[int, OrchestrationResult | Exception] = {}
    left = dict(enumerate(wishes))
    while left:
        # One for each run; the next one is judged by what that leaves.
        numbers = {wish.flow_run_id: number for number, wish in reversed(left.items())}.values()
        proposals: dict[int, _Proposal] = {}
        for number in numbers:
            flow_run_id, make, force = left.pop(number)
            state = _made(make)
            if isinstance(state, Exception):
                results[number] = state
            else:
                proposals[number] = _Proposal(flow_run_id, state, force)
        proposed = _propose(connection, list(proposals.values()), utcnow())
        for number, one in zip(proposals, proposed, strict=True):
            results[number] = one if isinstance(one, Exception) else one[1]
    return [results[number] for number in range(len(wishes))]


def propose_flow_run_state(
    connection: PlainConnection, flow_run_id: UUID, state: State[Any], *, force: bool, now: datetime
) -> tuple[FlowRun, OrchestrationResult]:
    """Decide on a proposed state of a flow run and write what was decided; return the run as it is afterwards.

    Raises:
        ObjectNotFound: there is no such flow run.
    """
    (proposed,) = _propose(connection, [_Proposal(flow_run_id, state, force)], now)
    if isinstance(proposed, Exception):
        raise proposed
    return proposed


def _propose(connection: PlainConnection, proposals: Sequence[_Proposal], now: datetime) -> list[_Proposed]:
    """Decide on one proposed state for each of several flow runs, and write what was decided."""
    if not proposals:
        return []
    runs = flow_runs.lock_many(connection, [each.flow_run_id for each in proposals])
    results: list[_Proposed] = []
    entered: list[orchestration.Entered] = []
    for flow_run_id, state, force in proposals:
        run = runs.get(flow_run_id)
        if run is None:
            results.append(ObjectNotFound("flow run", flow_run_id))
            continue
        before = run.state
        result = orchestration.enter_decided(run, state, force=force, now=now)
        if result.has_entered:
            entered.append(orchestration.Entered(run, before))
        results.append((run, result))
    orchestration.write_all(connection, entered)
    leases.release_many(connection, [run.id for run, _ in entered if orchestration.leaves_process(run)])
    ended: list[UUID] = []
    for run, _ in entered:
        mirror_subflow(connection, run)
        if run.state is not None and run.state.is_final():
            ended.append(run.id)
    holders = tag_slots.holders_among(connection, ended)
    if holders:
        # Nobody is left who could end their task runs.
        slots.release_of_runs(connection, holders, now=now)
    return results


def resume_flow_run(
    connection: PlainConnection, flow_run_id: UUID, run_input: Mapping[str, Any] | None, *, now: datetime
) -> OrchestrationResult:
    """Let a paused flow run go on; see `resuming.resume_flow_run`.

    Raises:
        ObjectNotFound: there is no such flow run.
    """
    result = resuming.resume_flow_run(connection, flow_run_id, run_input, now=now)
    if result.has_entered:
        mirror_subflow(connection, flow_runs.lock(connection, flow_run_id))
    return result


def mirror_subflow(connection: PlainConnection, run: FlowRun) -> None:
    """Enter a copy of a flow run's state into the task run that stands for it in its parent.

    Left to the process that holds the parent's lease, if one does: it alone writes the parent's task runs.
    """
    if run.parent_task_run_id is None or run.state is None:
        return
    try:
        mirror = reported_task_runs.lock(connection, run.parent_task_run_id)
    except ObjectNotFound:
        return
    if mirror.flow_run_id is not None and leases.is_held(connection, mirror.flow_run_id):
        return
    copy = mirrored_state(run, run.state)
    copy.state_details = replace(copy.state_details, flow_run_id=mirror.flow_run_id, task_run_id=mirror.id)
    before = mirror.state
    enter_state(mirror, copy)
    write(connection, mirror, before)
