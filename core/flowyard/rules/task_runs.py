"""The rules for task runs, in order of priority.

On the hot path: two or three decisions for every task run. The rules that can apply to a transition are looked up by
its two types, so that None -> PENDING and RUNNING -> COMPLETED, which no rule concerns, cost one dictionary look-up
(measured with timeit on CPython 3.11: 0.5 microseconds each; PENDING -> RUNNING 1.4).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

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
from flowyard.rules.policy import EVERY, FINAL, Rule, Table, compile_policy, only
from flowyard.rules.retries import settle_failure
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import FINAL_TYPES, State, StateDetails, StateType
from flowyard.schemas.unknown_result import UnknownResult

S = StateType


class TagSlots(NamedTuple):
    """The concurrency limit of one tag of a task run, as the caller found it."""

    tag: str
    limit: int
    active: int
    """Slots that are taken now."""
    is_held: bool = False
    """One of them is this run's."""


class TaskRunFacts(NamedTuple):
    """What the caller looked up before asking for a decision; one for all tasks of a flow run will mostly do."""

    flow_run_state_type: StateType | None = None
    flow_run_run_count: int = 0
    cached_state: RunState | None = None
    """The newest Completed state that was stored under the cache key of the proposed state."""
    slots: tuple[TagSlots, ...] = ()
    slot_wait_seconds: float = 30.0
    """How long to wait before asking for a taken slot again."""
    lost_attempts: int = 0
    """Attempts that died with their worker; they use `crash_retries`, never `retries`."""
    pause_timeout: datetime | None = None
    """Of the flow run's state, when that is Paused."""
    pause_reschedule: bool = False


class CacheEntry(NamedTuple):
    """What the caller has to store so that later runs find a Completed state by its cache key."""

    cache_key: str
    expiration: datetime | None
    state_id: UUID


class _Draft:
    """A transition on its way through the rules."""

    __slots__ = ("changes", "facts", "now", "proposed", "run", "run_count", "spread", "take_slots")

    def __init__(
        self, run: TaskRun, proposed: RunState, now: datetime, facts: TaskRunFacts, spread: float | None
    ) -> None:
        self.run = run
        self.proposed = proposed
        self.now = now
        self.facts = facts
        self.spread = spread
        self.run_count = run.run_count
        self.changes: RunChanges | None = None
        self.take_slots: tuple[str, ...] = ()

    @property
    def current(self) -> RunState:
        """The state the run is in; for rules that never see a run without one."""
        assert self.run.state is not None
        return self.run.state

    def change(self, changes: RunChanges) -> None:
        self.changes = changes if self.changes is None else {**self.changes, **changes}


def _retrieve_from_cache(draft: _Draft) -> Decision | None:
    cached = draft.facts.cached_state
    if cached is None:
        return None
    details = draft.proposed.state_details
    if details.cache_key is None or details.refresh_cache:
        return None
    expiration = cached.state_details.cache_expiration
    if expiration is not None and expiration <= draft.now:
        return None
    copied = replace(cached.state_details, flow_run_id=details.flow_run_id, task_run_id=details.task_run_id)
    return replace_with(
        State(S.COMPLETED, "Cached", cached.message, cached.data, copied, draft.now),
        f"there is a result for cache key {details.cache_key!r}",
    )


def _leave_final_state(draft: _Draft) -> Decision | None:
    run, current, proposed = draft.run, draft.current, draft.proposed
    if proposed.type in (S.CANCELLING, S.PAUSED, S.CRASHED):
        return abort(f"this run is already {current.type}")
    if current.type is S.COMPLETED and has_persisted_result(current):
        return keep("this run is already COMPLETED and its result is kept")
    if proposed.type in FINAL_TYPES:
        return None
    draft.run_count = 0
    draft.change({"run_count": 0})
    if proposed.type is S.RUNNING and run.flow_run_run_count < draft.facts.flow_run_run_count:
        draft.proposed = revised(proposed, name="Retrying")
    return None


def _only_in_running_flows(draft: _Draft) -> Decision | None:
    facts = draft.facts
    flow_type = facts.flow_run_state_type
    if flow_type is S.RUNNING:
        return None
    if flow_type is None:
        return abort("the flow run of this task has no state")
    if flow_type is not S.PAUSED:
        return abort(f"the flow run of this task is {flow_type}: no task of it can run")
    details = draft.proposed.state_details
    paused = StateDetails(
        flow_run_id=details.flow_run_id,
        task_run_id=details.task_run_id,
        pause_timeout=facts.pause_timeout,
        pause_reschedule=facts.pause_reschedule,
    )
    return replace_with(
        State(
            S.PAUSED, "NotReady", "The flow is paused, new tasks can execute after resuming.", None, paused, draft.now
        ),
        "the flow run of this task is paused",
    )


def _secure_slots(draft: _Draft) -> Decision | None:
    facts = draft.facts
    if not facts.slots:
        return None
    for slots in sorted(facts.slots):
        if slots.limit == 0:
            return abort(f"the concurrency limit of tag {slots.tag!r} is 0: tasks with it never run")
        if slots.active >= slots.limit and not slots.is_held:
            return wait(facts.slot_wait_seconds, f"the concurrency limit of tag {slots.tag!r} is reached")
    draft.take_slots = tuple(slots.tag for slots in sorted(facts.slots) if not slots.is_held)
    return None


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
    attempts = run.run_count - draft.facts.lost_attempts
    settled = settle_failure(draft.proposed, attempts=attempts, policy=run.policy, now=draft.now, spread=draft.spread)
    if settled is draft.proposed:
        return None
    return replace_with(settled, f"retry {attempts} of {run.policy.retries}")


def _rename_reruns(draft: _Draft) -> Decision | None:
    if draft.run_count > 0:
        current = draft.run.state
        is_retry = current is not None and current.name == "AwaitingRetry"
        draft.proposed = revised(draft.proposed, name="Retrying" if is_retry else "Rerunning")
    return None


def _track_flow_run(draft: _Draft) -> Decision | None:
    count = draft.facts.flow_run_run_count
    if draft.run.flow_run_run_count != count:
        draft.change({"flow_run_run_count": count})
    return None


def _prevent_pending(draft: _Draft) -> Decision | None:
    current = draft.current
    # NotReady is said by the process that has the run, after it looked at the upstream runs: not a second submission.
    if current.type is S.PENDING and draft.proposed.name == "NotReady" != current.name:
        return None
    return abort(f"this run is {current.type} and cannot become PENDING: somebody has it already")


def _add_unknown_result(draft: _Draft) -> Decision | None:
    if result_type(draft.current) == "reference":
        draft.proposed = revised(draft.proposed, data=UnknownResult())
    return None


_CACHE = Rule(_retrieve_from_cache, EVERY, only(S.RUNNING))
_FINAL = Rule(_leave_final_state, FINAL, EVERY)
_SLOTS = Rule(_secure_slots, EVERY, only(S.RUNNING))
_COPY = Rule(_copy_scheduled_time, only(S.SCHEDULED), only(S.PENDING))
_WAIT = Rule(_wait_for_scheduled_time, only(S.SCHEDULED, S.PENDING), only(S.RUNNING))
_RETRY = Rule(_retry_failed, only(S.RUNNING), only(S.FAILED))
_RENAME = Rule(_rename_reruns, EVERY, only(S.RUNNING))
_TRACK = Rule(_track_flow_run, EVERY, only(S.RUNNING))

CORE = compile_policy(
    [
        _CACHE,
        _FINAL,
        Rule(_only_in_running_flows, EVERY, only(S.RUNNING)),
        _SLOTS,
        _COPY,
        _WAIT,
        _RETRY,
        _RENAME,
        _TRACK,
    ]
)
MINIMAL: Table[_Draft] = compile_policy([Rule(_add_unknown_result, only(S.FAILED, S.CRASHED), only(S.COMPLETED))])
AUTONOMOUS = compile_policy(
    [
        Rule(_prevent_pending, only(S.PENDING, S.CANCELLING, S.RUNNING, S.CANCELLED), only(S.PENDING)),
        _CACHE,
        _FINAL,
        _SLOTS,
        _COPY,
        _WAIT,
        _RETRY,
        _RENAME,
    ]
)


def decide_task_run(
    run: TaskRun,
    proposed: RunState,
    *,
    now: datetime,
    facts: TaskRunFacts,
    force: bool = False,
    spread: float | None = None,
) -> Decision:
    """Return what becomes of a state proposed for a task run. Changes neither.

    A run outside of a flow has a policy of its own, which `force` does not lift.

    Args:
        run: the run with its current state.
        proposed: the state somebody wants it to enter.
        now: the present time.
        facts: what the caller looked up about flow run, cache and limits.
        force: skip all rules but those that keep records truthful.
        spread: a random draw from [0, 1); needed only when the run's retry policy has a jitter factor.
    """
    table = AUTONOMOUS if run.flow_run_id is None else MINIMAL if force else CORE
    current = run.state
    checks = table[current.type if current is not None else None, proposed.type]
    if not checks:
        return Decision(Verdict.ACCEPT, proposed)
    draft = _Draft(run, proposed, now, facts, spread)
    for check in checks:
        decision = check(draft)
        if decision is not None:
            return decision
    return Decision(Verdict.ACCEPT, draft.proposed, None, 0.0, draft.changes, draft.take_slots)


def releases_slots(entered: RunState) -> bool:
    """Say whether a task run that entered this state must give its concurrency slots back."""
    return entered.type is not S.RUNNING and entered.type is not S.CANCELLING


def cache_entry(entered: RunState) -> CacheEntry | None:
    """Return what to store when a task run entered this state, so that its result is found by cache key."""
    details = entered.state_details
    if entered.type is not S.COMPLETED or details.cache_key is None:
        return None
    return CacheEntry(details.cache_key, details.cache_expiration, entered.id)
