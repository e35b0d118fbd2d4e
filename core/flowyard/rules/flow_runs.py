"""The rules for flow runs, in order of priority."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from flowyard.rules.decision import (
    Decision,
    RunChanges,
    RunState,
    abort,
    due_in,
    has_persisted_result,
    keep,
    replace_with,
    result_type,
    revised,
    wait,
)
from flowyard.rules.policy import EVERY, FINAL, Rule, compile_policy, only
from flowyard.rules.retries import settle_failure
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import FINAL_TYPES, State, StateDetails, StateType
from flowyard.schemas.unknown_result import UnknownResult

S = StateType
_NO_KEYS: frozenset[str] = frozenset()


class _Draft:
    """A transition on its way through the rules."""

    __slots__ = ("changes", "now", "proposed", "run", "spread")

    def __init__(self, run: FlowRun, proposed: RunState, now: datetime, spread: float | None) -> None:
        self.run = run
        self.proposed = proposed
        self.now = now
        self.spread = spread
        self.changes: RunChanges | None = None

    @property
    def current(self) -> RunState:
        """The state the run is in; for rules that never see a run without one."""
        assert self.run.state is not None
        return self.run.state


def _prevent_duplicates(draft: _Draft) -> Decision | None:
    # A client that got no answer proposes again; the second proposal must not count.
    current = draft.run.state
    transition_id = draft.proposed.state_details.transition_id
    if current is not None and transition_id is not None and current.state_details.transition_id == transition_id:
        return keep("this run has already made this transition")
    return None


def _leave_final_state(draft: _Draft) -> Decision | None:
    run, current, to_type = draft.run, draft.current, draft.proposed.type
    if to_type in (S.CANCELLING, S.PAUSED, S.CRASHED):
        return abort(f"this run is already {current.type}")
    if to_type in FINAL_TYPES:
        return None
    if current.type is S.COMPLETED and has_persisted_result(current):
        return keep("this run is already COMPLETED and its result is kept")
    if to_type is S.SCHEDULED and run.deployment_id is None:
        return abort("cannot reschedule a flow run that has no deployment: run the flow again in its own process")
    draft.changes = {
        "resuming": False,
        "pause_keys": _NO_KEYS,
        "retry_type": "reschedule" if to_type is S.SCHEDULED else None,
    }
    return None


def _enforce_cancelling(draft: _Draft) -> Decision | None:
    return keep(f"this run is {draft.current.type}: it can only become CANCELLED")


def _cancel_without_infrastructure(draft: _Draft) -> Decision | None:
    # Nobody executes the run, so nobody would ever finish a cancellation.
    current, run = draft.current, draft.run
    if current.type is S.SCHEDULED:
        is_idle = not run.infrastructure_pid or current.name == "Resuming"
        reason = "this run is scheduled and nothing executes it: cancelled at once"
    else:
        is_idle = current.state_details.pause_reschedule
        reason = "this run is suspended and nothing executes it: cancelled at once"
    if not is_idle:
        return None
    return replace_with(
        State(S.CANCELLED, None, draft.proposed.message, None, _details_of(draft.proposed), draft.now), reason
    )


def _prevent_pending(draft: _Draft) -> Decision | None:
    # Two workers that pick up the same run: the second one must not execute it.
    return abort(f"this run is {draft.current.type} and cannot become PENDING: somebody has it already")


def _late_only_when_scheduled(draft: _Draft) -> Decision | None:
    if draft.proposed.name != "Late":
        return None
    current = draft.run.state
    if current is None:
        return abort("a run without a state cannot be late")
    if current.type is not S.SCHEDULED:
        return keep(f"this run is {current.type}: only a scheduled run can be late")
    return None


def pause_key(state: RunState) -> str:
    """Return the key that lets a pause fire once: the given one, or one of its own for every pause."""
    return state.state_details.pause_key or str(state.id)


def _pause(draft: _Draft) -> Decision | None:
    run, current, proposed = draft.run, draft.run.state, draft.proposed
    if current is None:
        return abort("cannot pause a flow run that has no state")
    if current.type is not S.RUNNING:
        return keep(f"cannot pause a flow run that is {current.type}: it is not running")
    key = pause_key(proposed)
    if key in run.pause_keys:
        return keep(f"the pause {key!r} has already fired in this run")
    if proposed.state_details.pause_reschedule:
        if run.parent_task_run_id is not None:
            return abort("cannot suspend a subflow: suspend the flow that called it, or pause without rescheduling")
        if run.deployment_id is None:
            return abort("cannot suspend a flow run that has no deployment: pause without rescheduling")
    draft.changes = {"pause_keys": run.pause_keys | {key}}
    return None


def _resume(draft: _Draft) -> Decision | None:
    run, current, to_type = draft.run, draft.current, draft.proposed.type
    if to_type is S.CANCELLING:
        # Prefect refuses this; whoever pauses for an answer must be able to get a no. (Suspended: `_BYPASS`.)
        return None
    if to_type not in (S.RUNNING, S.SCHEDULED) and to_type not in FINAL_TYPES:
        return keep(f"this run is paused and cannot become {to_type}")
    details = current.state_details
    if details.pause_reschedule and run.deployment_id is None:
        return keep("cannot reschedule a paused flow run that has no deployment")
    if details.pause_timeout is not None and details.pause_timeout < draft.now:
        return replace_with(
            State(S.FAILED, None, "The flow was paused and never resumed.", None, _details_of(current), draft.now),
            "the pause has timed out: the run cannot resume any more",
        )
    draft.changes = {"resuming": True}
    return None


def _details_of(state: RunState) -> StateDetails:
    # The ids of the run and nothing else: the facts of one state do not hold for its replacement.
    details = state.state_details
    return StateDetails(
        flow_run_id=details.flow_run_id,
        task_run_id=details.task_run_id,
        child_flow_run_id=details.child_flow_run_id,
        transition_id=details.transition_id,
    )


def _copy_scheduled_time(draft: _Draft) -> Decision | None:
    details = draft.proposed.state_details
    if details.scheduled_time is None:
        scheduled_time = draft.current.state_details.scheduled_time
        draft.proposed = revised(draft.proposed, details=replace(details, scheduled_time=scheduled_time))
    return None


def _wait_for_scheduled_time(draft: _Draft) -> Decision | None:
    seconds = due_in(draft.current, draft.now)
    return wait(seconds, "the scheduled time is in the future") if seconds else None


def _retry_failed(draft: _Draft) -> Decision | None:
    run = draft.run
    settled = settle_failure(
        draft.proposed, attempts=run.run_count, policy=run.policy, now=draft.now, spread=draft.spread
    )
    if settled is draft.proposed:
        return None
    return replace_with(
        settled,
        f"retry {run.run_count} of {run.policy.retries}",
        {"resuming": False, "pause_keys": _NO_KEYS, "retry_type": "in_process"},
    )


def _add_unknown_result(draft: _Draft) -> Decision | None:
    if result_type(draft.current) == "reference":
        draft.proposed = revised(draft.proposed, data=UnknownResult())
    return None


_BYPASS = Rule(_cancel_without_infrastructure, only(S.SCHEDULED, S.PAUSED), only(S.CANCELLING))
_LATE = Rule(_late_only_when_scheduled, EVERY, only(S.SCHEDULED))

CORE = compile_policy(
    [
        Rule(_prevent_duplicates, EVERY, EVERY),
        Rule(_leave_final_state, FINAL, EVERY),
        Rule(_enforce_cancelling, only(S.CANCELLED, S.CANCELLING), EVERY - only(S.CANCELLED)),
        _BYPASS,
        Rule(_prevent_pending, only(S.PENDING, S.CANCELLING, S.RUNNING, S.CANCELLED), only(S.PENDING)),
        _LATE,
        Rule(_pause, EVERY, only(S.PAUSED)),
        Rule(_resume, only(S.PAUSED), EVERY),
        Rule(_copy_scheduled_time, only(S.SCHEDULED), only(S.PENDING)),
        Rule(_wait_for_scheduled_time, only(S.SCHEDULED, S.PENDING), only(S.RUNNING)),
        Rule(_retry_failed, only(S.RUNNING), only(S.FAILED)),
    ]
)
MINIMAL = compile_policy([Rule(_add_unknown_result, only(S.FAILED, S.CRASHED), only(S.COMPLETED)), _BYPASS])
LATE_MARKING = compile_policy([_LATE])


def decide_flow_run(
    run: FlowRun,
    proposed: RunState,
    *,
    now: datetime,
    force: bool = False,
    is_late_marking: bool = False,
    spread: float | None = None,
) -> Decision:
    """Return what becomes of a state proposed for a flow run. Changes neither.

    Args:
        run: the run with its current state.
        proposed: the state somebody wants it to enter.
        now: the present time.
        force: skip all rules but those that keep records truthful.
        is_late_marking: the proposal comes from the service that marks late runs: only its own rule holds.
        spread: a random draw from [0, 1); needed only when the run's retry policy has a jitter factor.
    """
    table = MINIMAL if force else LATE_MARKING if is_late_marking else CORE
    draft = _Draft(run, proposed, now, spread)
    for check in table[run.state.type if run.state else None, proposed.type]:
        decision = check(draft)
        if decision is not None:
            return decision
    return Decision(Verdict.ACCEPT, draft.proposed, None, 0.0, draft.changes)


def mirrored_state(run: FlowRun, state: RunState) -> RunState:
    """Return the state for the task run in the parent flow that stands for this subflow run.

    It is entered by force, because what happened to the subflow is a fact. It has an id of its own.
    """
    details = replace(
        state.state_details, child_flow_run_id=run.id, task_run_id=run.parent_task_run_id, flow_run_id=None
    )
    return State(state.type, state.name, state.message, state.data, details, state.timestamp)
