"""Making and reading states by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeGuard, TypeVar, cast

from flowyard.rules.aggregate import aggregate_states
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import State, StateDetails, StateType, state_exception, state_value

R = TypeVar("R")

__all__ = [
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "Late",
    "Paused",
    "Pending",
    "Retrying",
    "Running",
    "Scheduled",
    "State",
    "StateDetails",
    "StateGroup",
    "StateType",
    "Suspended",
    "get_state_exception",
    "get_state_result",
    "is_state",
    "is_state_iterable",
    "raise_state_exception",
]


def Scheduled(scheduled_time: datetime | None = None, **fields: Any) -> State[Any]:  # noqa: N802
    """Return a Scheduled state; the default time is now.

    Raises:
        ValueError: the time is given twice.
    """
    details = _details(fields)
    if scheduled_time is not None and details.scheduled_time is not None:
        raise ValueError("scheduled_time is given twice: as an argument and in state_details")
    if scheduled_time is not None:
        details = replace(details, scheduled_time=scheduled_time)
    return State(StateType.SCHEDULED, state_details=details, **fields)


def Completed(**fields: Any) -> State[Any]:  # noqa: N802
    """Return a Completed state; `data` is the value."""
    return State(StateType.COMPLETED, **fields)


def Running(**fields: Any) -> State[Any]:  # noqa: N802
    """Return a Running state."""
    return State(StateType.RUNNING, **fields)


def Failed(**fields: Any) -> State[Any]:  # noqa: N802
    """Return a Failed state; `data` may be the exception."""
    return State(StateType.FAILED, **fields)


def Crashed(**fields: Any) -> State[Any]:  # noqa: N802
    """Return a Crashed state."""
    return State(StateType.CRASHED, **fields)


def Cancelling(**fields: Any) -> State[Any]:  # noqa: N802
    """Return a Cancelling state."""
    return State(StateType.CANCELLING, **fields)


def Cancelled(**fields: Any) -> State[Any]:  # noqa: N802
    """Return a Cancelled state."""
    return State(StateType.CANCELLED, **fields)


def Pending(**fields: Any) -> State[Any]:  # noqa: N802
    """Return a Pending state."""
    return State(StateType.PENDING, **fields)


def Paused(  # noqa: N802
    timeout_seconds: float | None = None,
    pause_expiration_time: datetime | None = None,
    reschedule: bool = False,
    pause_key: str | None = None,
    **fields: Any,
) -> State[Any]:
    """Return a Paused state that ends after `timeout_seconds`, at `pause_expiration_time`, or (neither) never.

    Raises:
        ValueError: both are given.
    """
    if timeout_seconds is not None and pause_expiration_time is not None:
        raise ValueError("give timeout_seconds or pause_expiration_time, not both")
    if timeout_seconds is not None:
        pause_expiration_time = utcnow() + timedelta(seconds=timeout_seconds)
    details = replace(
        _details(fields), pause_timeout=pause_expiration_time, pause_reschedule=reschedule, pause_key=pause_key
    )
    return State(StateType.PAUSED, state_details=details, **fields)


def Suspended(  # noqa: N802
    timeout_seconds: float | None = None,
    pause_expiration_time: datetime | None = None,
    pause_key: str | None = None,
    **fields: Any,
) -> State[Any]:
    """Return a Paused state whose run has left its process and is scheduled anew when it is resumed."""
    fields.setdefault("name", "Suspended")
    return Paused(timeout_seconds, pause_expiration_time, reschedule=True, pause_key=pause_key, **fields)


def AwaitingRetry(scheduled_time: datetime | None = None, **fields: Any) -> State[Any]:  # noqa: N802
    """Return the Scheduled state of a run that failed and is tried again."""
    return Scheduled(scheduled_time, name="AwaitingRetry", **fields)


def Retrying(**fields: Any) -> State[Any]:  # noqa: N802
    """Return the Running state of a run that is tried again."""
    return State(StateType.RUNNING, name="Retrying", **fields)


def Late(scheduled_time: datetime | None = None, **fields: Any) -> State[Any]:  # noqa: N802
    """Return the Scheduled state of a run that should have begun."""
    return Scheduled(scheduled_time, name="Late", **fields)


def _details(fields: dict[str, Any]) -> StateDetails:
    details = fields.pop("state_details", None)
    if details is None:
        return StateDetails()
    return details if isinstance(details, StateDetails) else StateDetails(**details)


def get_state_result(state: State[R], raise_on_failure: bool = True, fetch: bool | None = None) -> R:
    """Return `state.result(...)`."""
    del fetch
    return state_value(state, raise_on_failure=raise_on_failure)


def get_state_exception(state: State[Any]) -> BaseException:
    """Return the exception of a failed, crashed or cancelled state.

    Raises:
        ValueError: the state is none of these.
    """
    if not (state.is_failed() or state.is_crashed() or state.is_cancelled()):
        raise ValueError(f"state {state} has no exception: it is not failed, crashed or cancelled")
    return state_exception(state)


def raise_state_exception(state: State[Any]) -> None:
    """Raise the exception of a failed, crashed or cancelled state; do nothing for any other."""
    if state.is_failed() or state.is_crashed() or state.is_cancelled():
        raise state_exception(state)


def is_state(obj: object) -> TypeGuard[State[Any]]:
    """Say whether something is a state."""
    return isinstance(obj, State)


def is_state_iterable(obj: object) -> TypeGuard[Iterable[State[Any]]]:
    """Say whether something is a list, tuple or set of states, and not empty."""
    if not isinstance(obj, (list, tuple, set)) or not obj:
        return False
    return all(isinstance(item, State) for item in cast("Iterable[object]", obj))


class StateGroup:
    """Several states, and what they add up to."""

    def __init__(self, states: Iterable[State[Any]]) -> None:
        self.states = list(states)

    @property
    def fail_count(self) -> int:
        """How many failed or crashed."""
        return sum(state.is_failed() or state.is_crashed() for state in self.states)

    def all_completed(self) -> bool:
        """Say whether every state is Completed."""
        return all(state.is_completed() for state in self.states)

    def any_cancelled(self) -> bool:
        """Say whether one is Cancelled."""
        return any(state.is_cancelled() for state in self.states)

    def any_failed(self) -> bool:
        """Say whether one failed or crashed."""
        return self.fail_count > 0

    def any_paused(self) -> bool:
        """Say whether one is Paused."""
        return any(state.is_paused() for state in self.states)

    def all_final(self) -> bool:
        """Say whether every state is final."""
        return all(state.is_final() for state in self.states)

    def counts_message(self) -> str:
        """Return how many are final, and how many of each type that is not Completed."""
        return aggregate_states(self.states)[1]
