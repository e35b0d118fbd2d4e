"""The states of runs that something else stopped."""

from __future__ import annotations

import asyncio
import concurrent.futures
from datetime import UTC, datetime
from typing import Any

import pytest

from flowyard.exceptions import TerminationSignal, WorkerLost
from flowyard.rules.crashes import crash_message, crashed_state, reaped_state, unrecorded_state
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import StateDetails, StateType

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Request:
    url = "http://127.0.0.1:4200/api/health"


class ConnectError(Exception):
    """Looks like an error of httpx."""

    request: Any = Request()


ConnectError.__module__ = "httpx"


class UnsetRequestError(ConnectError):
    @property
    def request(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise RuntimeError("The .request property has not been set.")


@pytest.mark.parametrize(
    ("exc", "message"),
    [
        (asyncio.CancelledError(), "Execution was cancelled by the runtime environment."),
        (concurrent.futures.CancelledError(), "Execution was cancelled by the runtime environment."),
        (KeyboardInterrupt(), "Execution was aborted by an interrupt signal."),
        (TerminationSignal(15), "Execution was aborted by a termination signal."),
        (SystemExit(3), "Execution was aborted by Python system exit call."),
        (
            WorkerLost("worker-1", "killed by signal 9"),
            "Execution was lost with its worker worker-1: killed by signal 9",
        ),
        (MemoryError(), "Execution was interrupted by an unexpected exception: MemoryError"),
        (ValueError("x"), "Execution was interrupted by an unexpected exception: ValueError: x"),
        (ConnectError("refused"), "Request to http://127.0.0.1:4200/api/health failed: ConnectError: refused."),
        (
            UnsetRequestError("refused"),
            "Execution was interrupted by an unexpected exception: UnsetRequestError: refused",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_crash_names_its_cause(exc: BaseException, message: str) -> None:
    assert crash_message(exc) == message


def test_a_subclass_of_a_known_cause_is_that_cause() -> None:
    class Stopped(asyncio.CancelledError):
        pass

    assert crash_message(Stopped()) == "Execution was cancelled by the runtime environment."


def test_a_user_error_called_cancelled_is_no_cancellation() -> None:
    class CancelledError(Exception):
        pass

    assert "unexpected exception: CancelledError" in crash_message(CancelledError())


def test_a_crashed_state_keeps_the_exception() -> None:
    exc = KeyboardInterrupt()
    details = StateDetails(flow_run_id=new_id())
    crashed = crashed_state(exc, now=NOW, details=details)
    assert (crashed.type, crashed.data, crashed.timestamp) == (StateType.CRASHED, exc, NOW)
    assert crashed.state_details == details
    with pytest.raises(KeyboardInterrupt):
        crashed.result()


def test_an_unrecorded_state_says_why() -> None:
    given_up = unrecorded_state("OperationalError: disk is full", now=NOW)
    assert given_up.type is StateType.CRASHED
    assert given_up.timestamp == NOW
    assert "its records could not be written (OperationalError: disk is full)" in (given_up.message or "")


def test_a_reaped_state_names_the_owner() -> None:
    reaped = reaped_state("process 4242 on host node-7", now=NOW)
    assert (reaped.type, reaped.timestamp) == (StateType.CRASHED, NOW)
    assert "process 4242 on host node-7" in (reaped.message or "")
