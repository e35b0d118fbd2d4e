"""States of runs. Light: a state is made three times for every task run."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Generic, Literal, Protocol, Self, cast, overload, runtime_checkable
from uuid import UUID

from typing_extensions import TypeVar

from flowyard.exceptions import CancelledRun, CrashedRun, FailedRun, MissingResult, PausedRun, UnfinishedRun
from flowyard.schemas.ids import new_id

R = TypeVar("R", default=Any)
R_co = TypeVar("R_co", covariant=True, default=Any)


class StateType(enum.StrEnum):
    """The kind of a state; rules look at this, people at the name."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"


FINAL_TYPES = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED})
DEFAULT_NAMES: dict[StateType, str] = {kind: kind.value.capitalize() for kind in StateType}


@runtime_checkable
class ResultHandle(Protocol[R_co]):
    """Where the value of a state is. `results` has the implementations."""

    def get(self) -> R_co:
        """Return the value.

        Raises:
            MissingResult: the value was not kept.
        """
        ...

    def to_record(self) -> dict[str, Any]:
        """Return what the state backend stores about the value: never the value itself."""
        ...


@dataclass(frozen=True, slots=True)
class StateDetails:
    """Facts about a state that rules and clients need; None means "not said"."""

    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    child_flow_run_id: UUID | None = None
    scheduled_time: datetime | None = None
    cache_key: str | None = None
    cache_expiration: datetime | None = None
    untrackable_result: bool = False
    pause_timeout: datetime | None = None
    pause_reschedule: bool = False
    pause_key: str | None = None
    run_input_keyset: dict[str, str] | None = None
    refresh_cache: bool | None = None
    retriable: bool | None = None
    transition_id: UUID | None = None
    task_parameters_id: UUID | None = None
    cache_trace: dict[str, Any] | None = None
    """Why the cache was hit or missed: outcome, reason, and the hash of each component of the key."""
    transaction: str | None = None
    """The stamp of the transaction that must commit before the value of this state counts for others."""

    @property
    def is_plain(self) -> bool:
        """Whether nothing is said but whose state it is, as of nearly every state. 0.6 microseconds."""
        return _beyond_ids(self) == _NOTHING_BEYOND

    def to_record(self) -> dict[str, Any]:
        """Return the fields that are set, in JSON types; the run ids are left out, the row has them."""
        record: dict[str, Any] = {}
        for field in _DETAIL_FIELDS:
            value = getattr(self, field)
            if value is None or (value is False and field in _DETAIL_FLAGS):
                continue
            if isinstance(value, datetime):
                record[field] = value.isoformat()
            elif isinstance(value, UUID):
                record[field] = str(value)
            else:
                record[field] = value
        return record

    @classmethod
    def from_record(cls, record: Mapping[str, Any], **run_ids: UUID | None) -> StateDetails:
        """Read what `to_record` wrote; unknown keys are ignored."""
        values: dict[str, Any] = dict(run_ids)
        for field in _DETAIL_FIELDS:
            value = record.get(field)
            if value is None:
                continue
            if field in _DETAIL_TIMES:
                value = datetime.fromisoformat(value)
            elif field in _DETAIL_IDS:
                value = UUID(value)
            values[field] = value
        return cls(**values)


_DETAIL_TIMES = frozenset({"scheduled_time", "cache_expiration", "pause_timeout"})
_DETAIL_IDS = frozenset({"child_flow_run_id", "transition_id", "task_parameters_id"})
_DETAIL_FLAGS = frozenset({"untrackable_result", "pause_reschedule"})  # False by default; elsewhere False means "no"
_DETAIL_FIELDS = tuple(field.name for field in fields(StateDetails) if field.name not in ("flow_run_id", "task_run_id"))
NO_DETAILS = StateDetails()
_beyond_ids = attrgetter(*_DETAIL_FIELDS)
_NOTHING_BEYOND = _beyond_ids(NO_DETAILS)


class State(Generic[R]):
    """What a run is doing, since when, and, once it is final, where its value is.

    `data` is a `ResultHandle`, or a value itself for a state that a user made by hand. A state that was recorded
    is not changed any more; `copy` makes another.
    """

    __slots__ = ("data", "id", "message", "name", "state_details", "timestamp", "type")

    def __init__(
        self,
        type: StateType | str,
        name: str | None = None,
        message: str | None = None,
        data: Any = None,
        state_details: StateDetails | Mapping[str, Any] | None = None,
        timestamp: datetime | None = None,
        id: UUID | None = None,
    ) -> None:
        self.type: StateType = type if isinstance(type, StateType) else StateType(type)
        self.name: str = name or DEFAULT_NAMES[self.type]
        self.message = message
        self.data: Any = data
        if state_details is None:
            state_details = NO_DETAILS
        elif not isinstance(state_details, StateDetails):
            state_details = StateDetails(**state_details)
        if self.type is StateType.SCHEDULED and state_details.scheduled_time is None:
            state_details = replace(state_details, scheduled_time=datetime.now(UTC))
        self.state_details: StateDetails = state_details
        self.timestamp: datetime = timestamp or datetime.now(UTC)
        self.id: UUID = id or new_id()

    # --- questions -----------------------------------------------------------------------------------

    def is_scheduled(self) -> bool:
        """Say whether the run waits for its time."""
        return self.type is StateType.SCHEDULED

    def is_pending(self) -> bool:
        """Say whether the run is submitted but has not begun."""
        return self.type is StateType.PENDING

    def is_running(self) -> bool:
        """Say whether user code is executing."""
        return self.type is StateType.RUNNING

    def is_completed(self) -> bool:
        """Say whether the run succeeded."""
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        """Say whether user code raised or timed out, with no retry left."""
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        """Say whether the run was stopped by something other than its own code."""
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        """Say whether somebody stopped the run."""
        return self.type is StateType.CANCELLED

    def is_cancelling(self) -> bool:
        """Say whether the run is about to be stopped."""
        return self.type is StateType.CANCELLING

    def is_paused(self) -> bool:
        """Say whether the run waits to be resumed."""
        return self.type is StateType.PAUSED

    def is_final(self) -> bool:
        """Say whether the run has ended."""
        return self.type in FINAL_TYPES

    # --- the value -----------------------------------------------------------------------------------

    @overload
    def result(self, raise_on_failure: bool = True, fetch: Literal[False] | None = None) -> R: ...
    @overload
    def result(self, raise_on_failure: bool = True, *, fetch: Literal[True]) -> Awaitable[R]: ...

    def result(self, raise_on_failure: bool = True, fetch: bool | None = None) -> Any:
        """Return the run's value.

        With ``raise_on_failure=False`` the exception of a failed run is returned. ``fetch=True`` returns an awaitable,
        for code written for Prefect 2's async flows.

        Raises:
            PausedRun: the run is paused.
            UnfinishedRun: the run has not ended.
            MissingResult: the run completed, and its value was not kept.
            BaseException: the run's own exception, or FailedRun, CrashedRun, CancelledRun with the state's message.
        """
        return _awaitable(self, raise_on_failure) if fetch else state_value(self, raise_on_failure=raise_on_failure)

    # --- copies and text -----------------------------------------------------------------------------

    def copy(self, *, update: Mapping[str, Any] | None = None, reset_fields: bool = False, **changes: Any) -> Self:
        """Return a copy with a new timestamp (and, with `reset_fields`, a new id) and the given changes."""
        values: dict[str, Any] = {
            "type": self.type,
            "name": self.name,
            "message": self.message,
            "data": self.data,
            "state_details": self.state_details,
            "id": None if reset_fields else self.id,
        }
        values.update(update or {})
        values.update(changes)
        return type(self)(**values)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        others = cast("State[Any]", other)
        return (self.id, self.type, self.name, self.message, self.timestamp, self.state_details) == (
            others.id,
            others.type,
            others.name,
            others.message,
            others.timestamp,
            others.state_details,
        )

    def __hash__(self) -> int:
        details = self.state_details
        return hash((details.flow_run_id, details.task_run_id, self.timestamp, self.type))

    def __str__(self) -> str:
        parts: list[str] = []
        if self.message:
            parts.append(repr(self.message))
        if self.name.lower() != self.type.value.lower():
            parts.append(f"type={self.type.value}")
        return f"{self.name}({', '.join(parts)})"

    def __repr__(self) -> str:
        kind = type(self.data).__name__ if self.data is not None else None
        return f"{self.name}(message={self.message!r}, type={self.type.value}, result={kind})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (
            State,
            (self.type, self.name, self.message, self.data, self.state_details, self.timestamp, self.id),
        )


async def _awaitable(state: State[R], raise_on_failure: bool) -> R:
    return state_value(state, raise_on_failure=raise_on_failure)


def state_value(state: State[Any], *, raise_on_failure: bool) -> Any:
    """Return the value or the exception of a state; `State.result` has the contract."""
    if state.is_paused():
        raise PausedRun("the run is paused: resume it to get its result", state=state)
    if not state.is_final():
        why = f": {state.message}" if state.message else ""
        raise UnfinishedRun(f"the run is in state {state.name!r} and has no result{why}")
    if state.is_completed():
        return _read(state)
    exception = state_exception(state)
    if raise_on_failure:
        raise exception
    # A failed state that stands for other states keeps them as its value.
    return state.data if _states_in(state.data) else exception


def state_exception(state: State[Any]) -> BaseException:
    """Return the exception of a failed, crashed or cancelled state, made from its message if it has none."""
    states = _states_in(state.data)
    if states:
        for inner in states:
            if inner.is_failed() or inner.is_crashed() or inner.is_cancelled():
                return state_exception(inner)
    else:
        try:
            value = _read(state)
        except MissingResult:
            value = None
        if isinstance(value, BaseException):
            return value
        inner_states = _states_in(value)
        if inner_states:
            return state_exception(state.copy(update={"data": inner_states}))
    wrapper = {StateType.CRASHED: CrashedRun, StateType.CANCELLED: CancelledRun}.get(state.type, FailedRun)
    return wrapper(state.message or f"the run ended in state {state.name!r} without a message")


def _states_in(data: Any) -> list[State[Any]]:
    """Return the states that an aggregate state stands for."""
    if isinstance(data, State):
        return [cast("State[Any]", data)]
    if isinstance(data, (list, tuple, set)) and data:
        items = list(cast("list[object]", data))
        if all(isinstance(item, State) for item in items):
            return cast("list[State[Any]]", items)
    return []


def _read(state: State[Any]) -> Any:
    data = state.data
    # By its methods: `isinstance` with a protocol costs 15 microseconds, as much as a third of a task.
    if hasattr(data, "to_record") and not isinstance(data, type):
        return cast("ResultHandle[Any]", data).get()
    if data is None and state.is_completed():
        raise MissingResult(
            "the run completed, but its value was not kept; use `persist_result=True` to read it later or elsewhere"
        )
    return data
