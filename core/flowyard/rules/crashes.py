"""The states of runs that were stopped by something other than their own code."""

from __future__ import annotations

from datetime import datetime

from flowyard.exceptions import TerminationSignal, WorkerLost
from flowyard.rules.decision import RunState
from flowyard.schemas.states import State, StateDetails, StateType

_CANCELLED = frozenset(
    {
        ("asyncio.exceptions", "CancelledError"),
        ("concurrent.futures._base", "CancelledError"),
        ("trio", "Cancelled"),
        ("trio._core._exceptions", "Cancelled"),
    }
)


def crash_message(exc: BaseException) -> str:
    """Return the message of a Crashed state, by what stopped the run."""
    # By name: the classes would cost every plain script the import of asyncio (50 ms).
    if any((cls.__module__, cls.__name__) in _CANCELLED for cls in type(exc).__mro__):
        return "Execution was cancelled by the runtime environment."
    if isinstance(exc, KeyboardInterrupt):
        return "Execution was aborted by an interrupt signal."
    if isinstance(exc, TerminationSignal):
        return "Execution was aborted by a termination signal."
    if isinstance(exc, SystemExit):
        return "Execution was aborted by Python system exit call."
    if isinstance(exc, WorkerLost):
        return f"Execution was lost with its worker {exc.worker}: {exc.cause}"
    text = str(exc)
    cause = f"{type(exc).__name__}: {text}" if text else type(exc).__name__
    if (url := _requested_url(exc)) is not None:
        return f"Request to {url} failed: {cause}."
    return f"Execution was interrupted by an unexpected exception: {cause}"


def _requested_url(exc: BaseException) -> str | None:
    if not any(cls.__module__.partition(".")[0] == "httpx" for cls in type(exc).__mro__):
        return None
    try:
        request: object = getattr(exc, "request", None)
    except RuntimeError:  # httpx: the request was not set on this error
        return None
    url: object = getattr(request, "url", None)
    return None if url is None else str(url)


def crashed_state(exc: BaseException, *, now: datetime, details: StateDetails | None = None) -> RunState:
    """Return the state of a run that `exc` stopped; the exception is its value."""
    return State(StateType.CRASHED, None, crash_message(exc), exc, details, now)


def unrecorded_state(cause: str, *, now: datetime, details: StateDetails | None = None) -> RunState:
    """Return the state of a run that its living process gave up, because what it did could not be written."""
    message = f"The run was given up, and how it ended is not known: its records could not be written ({cause})."
    return State(StateType.CRASHED, None, message, None, details, now)


def reaped_state(owner: str, *, now: datetime, details: StateDetails | None = None) -> RunState:
    """Return the state of a run whose process died without a word.

    `owner` describes the process, e.g. `process 4242 on host node-7`.
    """
    message = f"The process that executed this run is gone: {owner} ended without recording a final state."
    return State(StateType.CRASHED, None, message, None, details, now)
