"""What the rules answer to a proposed state."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple, TypedDict, cast

from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.states import State, StateDetails

RunState = State[Any]
"""A state of a run; the rules never look at the value."""


class RunChanges(TypedDict, total=False):
    """New values of run attributes other than those `bookkeeping.enter_state` sets; a missing key means "as it was"."""

    pause_keys: frozenset[str]
    resuming: bool
    retry_type: str | None
    run_count: int
    flow_run_run_count: int


class Decision(NamedTuple):
    """A verdict and what has to be written because of it.

    The caller sets `changes` on the run and then enters `state` (`bookkeeping.apply_decision` does both). With `state`
    None nothing is written and the run stays as it is. A named tuple: one is made for every transition.
    """

    verdict: Verdict
    state: RunState | None = None
    """The state to enter: the proposed one, a renamed copy of it, or (REJECT) a replacement."""
    reason: str | None = None
    delay_seconds: float = 0.0
    """With WAIT: propose again after this time. Exact; the REST API rounds it."""
    changes: RunChanges | None = None
    take_slots: tuple[str, ...] = ()
    """Tags whose concurrency slot the caller must take in the transaction that enters the state."""


def keep(reason: str) -> Decision:
    """Refuse; the run keeps its state."""
    return Decision(Verdict.REJECT, None, reason)


def replace_with(state: RunState, reason: str, changes: RunChanges | None = None) -> Decision:
    """Refuse the proposed state and enter another one."""
    return Decision(Verdict.REJECT, state, reason, 0.0, changes)


def abort(reason: str) -> Decision:
    """Refuse; whoever proposed the state must stop."""
    return Decision(Verdict.ABORT, None, reason)


def wait(delay_seconds: float, reason: str) -> Decision:
    """Ask for the same proposal again later."""
    return Decision(Verdict.WAIT, None, reason, delay_seconds)


def revised(
    state: RunState, *, name: str | None = None, details: StateDetails | None = None, data: object = None
) -> RunState:
    """Return the same state (id, time, type, message) with another name, details or value; None means "as it is"."""
    return State(
        state.type,
        name or state.name,
        state.message,
        state.data if data is None else data,
        details or state.state_details,
        state.timestamp,
        state.id,
    )


def has_persisted_result(state: RunState) -> bool:
    """Say whether the value of a state can be read again later, by anybody.

    Only a `ResultHandle` can say so; a plain value on a state that was made by hand lives in this process alone.
    """
    return result_type(state) not in (None, "unpersisted")


def result_type(state: RunState) -> str | None:
    """Return how the value of a state is kept (`literal`, `reference`, ...); None when there is no handle."""
    to_record = getattr(state.data, "to_record", None)
    # A class has the method too, but is a plain value here.
    if to_record is None or isinstance(state.data, type):
        return None
    record: object = to_record()
    # A client of the REST API may send any JSON value as that of a state.
    return cast("dict[str, Any]", record).get("type") if isinstance(record, dict) else None


def due_in(state: RunState, now: datetime) -> float:
    """Return the seconds until the scheduled time of a state; 0 when it has none or has passed."""
    due = state.state_details.scheduled_time
    if due is None or due <= now:
        return 0.0
    return (due - now).total_seconds()
