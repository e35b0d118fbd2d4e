# Wrong options are given on purpose, contexts are known by the test.
# pyright: reportOptionalOperand=false
from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from flowyard import states
from flowyard.exceptions import CancelledRun, CrashedRun, FailedRun
from flowyard.schemas.states import StateDetails, StateType
from flowyard.states import (
    Completed,
    Failed,
    Paused,
    Scheduled,
    StateGroup,
    get_state_exception,
    get_state_result,
    is_state,
    is_state_iterable,
    raise_state_exception,
)

NOON = datetime(2024, 5, 6, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("constructor", "kind", "name"),
    [
        ("Scheduled", "SCHEDULED", "Scheduled"),
        ("AwaitingRetry", "SCHEDULED", "AwaitingRetry"),
        ("Late", "SCHEDULED", "Late"),
        ("Pending", "PENDING", "Pending"),
        ("Running", "RUNNING", "Running"),
        ("Retrying", "RUNNING", "Retrying"),
        ("Completed", "COMPLETED", "Completed"),
        ("Failed", "FAILED", "Failed"),
        ("Crashed", "CRASHED", "Crashed"),
        ("Cancelling", "CANCELLING", "Cancelling"),
        ("Cancelled", "CANCELLED", "Cancelled"),
        ("Paused", "PAUSED", "Paused"),
        ("Suspended", "PAUSED", "Suspended"),
    ],
)
def test_a_constructor_makes_its_state_and_takes_fields(constructor, kind, name):
    state = getattr(states, constructor)(message="why")
    assert (state.type, state.name, state.message) == (StateType(kind), name, "why")


def test_a_scheduled_state_has_a_time_and_takes_it_once():
    assert Scheduled(NOON).state_details.scheduled_time == NOON
    assert Scheduled().state_details.scheduled_time is not None
    with pytest.raises(ValueError, match="twice"):
        Scheduled(NOON, state_details=StateDetails(scheduled_time=NOON))


def test_a_paused_state_ends_at_a_time_or_never():
    assert Paused(pause_expiration_time=NOON).state_details.pause_timeout == NOON
    assert Paused().state_details.pause_timeout is None
    before = datetime.now(UTC) + timedelta(seconds=59)
    assert Paused(timeout_seconds=60).state_details.pause_timeout >= before
    with pytest.raises(ValueError, match="not both"):
        Paused(timeout_seconds=1, pause_expiration_time=NOON)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (Failed(data=KeyError("x")), KeyError),
        (Failed(message="m"), FailedRun),
        (states.Crashed(message="m"), CrashedRun),
        (states.Cancelled(message="m"), CancelledRun),
        (Failed(data=[Completed(), Failed(data=KeyError("x"))]), KeyError),
    ],
    ids=["own", "failed", "crashed", "cancelled", "of several"],
)
def test_a_state_that_did_not_complete_has_an_exception(state, error):
    assert isinstance(get_state_exception(state), error)
    with pytest.raises(error):
        raise_state_exception(state)


def test_a_completed_state_has_a_value_and_no_exception():
    assert get_state_result(Completed(data=5)) == 5
    raise_state_exception(Completed())
    with pytest.raises(ValueError, match="no exception"):
        get_state_exception(Completed())


@pytest.mark.parametrize(
    ("value", "single", "several"),
    [
        (Completed(), True, False),
        ([Completed(), Failed()], False, True),
        ({Completed()}, False, True),
        ([], False, False),
        ([Completed(), 1], False, False),
        (1, False, False),
    ],
    ids=["state", "list", "set", "empty", "mixed", "number"],
)
def test_states_are_told_from_other_values(value, single, several):
    assert is_state(value) is single
    assert is_state_iterable(value) is several


def test_a_group_says_what_its_states_add_up_to():
    group = StateGroup([Completed(), Failed(), states.Crashed(), states.Paused()])
    assert (group.fail_count, group.any_failed(), group.any_paused()) == (2, True, True)
    assert not group.all_completed()
    assert not group.all_final()
    assert not group.any_cancelled()
    assert group.counts_message() == "1/4 states paused."
