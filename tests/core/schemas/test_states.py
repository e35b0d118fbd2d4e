"""States: text forms, copies, results, records and pickles."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.exceptions import CancelledRun, CrashedRun, FailedRun, MissingResult, PausedRun, UnfinishedRun
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import FINAL_TYPES, NO_DETAILS, ResultHandle, State, StateDetails, StateType
from flowyard.schemas.unknown_result import UnknownResult

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


class Handle:
    """A result handle that has its value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value

    def to_record(self) -> dict[str, Any]:
        return {"type": "unpersisted"}


class LostHandle(Handle):
    def get(self) -> Any:
        raise MissingResult("gone")


def failed(message: str | None = None, data: Any = None) -> State[Any]:
    return State("FAILED", message=message, data=data)


# --- making ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(StateType))
def test_the_default_name_is_the_type_with_a_capital(kind: StateType) -> None:
    assert State(kind).name == kind.value.capitalize()


def test_a_type_can_be_given_as_text() -> None:
    assert State("RUNNING").type is StateType.RUNNING


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="'SLEEPING'"):
        State("SLEEPING")


def test_a_scheduled_state_without_a_time_is_due_now() -> None:
    before = utcnow()
    due = State("SCHEDULED").state_details.scheduled_time
    assert due is not None
    assert before <= due <= utcnow()


def test_a_scheduled_state_keeps_the_time_it_is_given() -> None:
    assert State("SCHEDULED", state_details={"scheduled_time": NOW}).state_details.scheduled_time == NOW


def test_other_states_without_details_share_the_empty_ones() -> None:
    assert State("RUNNING").state_details is NO_DETAILS


def test_a_timestamp_is_aware_and_now() -> None:
    before = utcnow()
    assert before <= State("RUNNING").timestamp <= utcnow()


QUESTIONS: dict[StateType, Callable[[State[Any]], bool]] = {
    StateType.SCHEDULED: State.is_scheduled,
    StateType.PENDING: State.is_pending,
    StateType.RUNNING: State.is_running,
    StateType.COMPLETED: State.is_completed,
    StateType.FAILED: State.is_failed,
    StateType.CRASHED: State.is_crashed,
    StateType.CANCELLED: State.is_cancelled,
    StateType.CANCELLING: State.is_cancelling,
    StateType.PAUSED: State.is_paused,
}


@pytest.mark.parametrize("kind", list(StateType))
def test_each_type_answers_yes_to_its_own_question_only(kind: StateType) -> None:
    state = State[Any](kind, name="Custom")
    assert {asked for asked, question in QUESTIONS.items() if question(state)} == {kind}
    assert state.is_final() == (kind in FINAL_TYPES)


# --- text --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State("COMPLETED"), "Completed()"),
        (State("COMPLETED", message="fine"), "Completed('fine')"),
        (State("COMPLETED", "Cached"), "Cached(type=COMPLETED)"),
        (State("FAILED", "TimedOut", "it's late"), 'TimedOut("it\'s late", type=FAILED)'),
        (State("PENDING", "pending"), "pending()"),
        (State("PENDING", message=""), "Pending()"),
    ],
)
def test_a_state_reads_as_its_name_message_and_unusual_type(state: State[Any], text: str) -> None:
    assert str(state) == text


def test_a_repr_shows_the_kind_of_the_result_and_not_the_value() -> None:
    assert repr(State("COMPLETED", data=Handle("secret"))) == "Completed(message=None, type=COMPLETED, result=Handle)"
    assert repr(failed("no")) == "Failed(message='no', type=FAILED, result=None)"


# --- copies ------------------------------------------------------------------------------------------


def test_a_copy_is_the_same_state_at_a_new_time() -> None:
    original = State[Any]("FAILED", "TimedOut", "late", ValueError(), {"cache_key": "k"}, NOW)
    copied = original.copy()
    assert copied.timestamp > NOW
    for field in ("id", "type", "name", "message", "data", "state_details"):
        assert getattr(copied, field) == getattr(original, field)


def test_a_copy_with_reset_fields_is_another_state() -> None:
    original = State[Any]("RUNNING")
    assert original.copy(reset_fields=True).id != original.id


def test_a_copy_takes_changes_both_ways() -> None:
    copied = State[Any]("RUNNING").copy(update={"name": "Retrying", "timestamp": NOW}, message="again")
    assert (copied.name, copied.message, copied.timestamp) == ("Retrying", "again", NOW)


def test_a_copy_leaves_the_original_alone() -> None:
    original = State[Any]("RUNNING", timestamp=NOW)
    original.copy(update={"name": "Retrying"})
    assert (original.name, original.timestamp) == ("Running", NOW)


# --- equality ----------------------------------------------------------------------------------------


def test_states_are_equal_when_everything_but_the_value_is() -> None:
    one = State[Any]("COMPLETED", data=1, timestamp=NOW)
    other = State[Any]("COMPLETED", data=2, timestamp=NOW, id=one.id)
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize(
    "change", [{"name": "X"}, {"message": "x"}, {"timestamp": NOW + timedelta(1)}, {"id": new_id()}], ids=",".join
)
def test_states_that_differ_in_a_field_are_not_equal(change: dict[str, Any]) -> None:
    one = State[Any]("COMPLETED", timestamp=NOW)
    assert one != one.copy(update={"timestamp": NOW, **change})


def test_a_state_is_equal_to_nothing_else() -> None:
    assert State("COMPLETED") != "COMPLETED"


# --- results -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [Handle(5), 5], ids=["handle", "plain value"])
def test_a_completed_state_has_its_value(data: Any) -> None:
    assert State("COMPLETED", data=data).result() == 5


def test_a_handle_can_hold_none() -> None:
    assert State("COMPLETED", data=Handle(None)).result() is None


def test_a_completed_state_without_data_says_that_its_value_was_not_kept() -> None:
    with pytest.raises(MissingResult, match="persist_result"):
        State("COMPLETED").result()


def test_a_result_that_is_unknown_says_so() -> None:
    assert isinstance(UnknownResult(), ResultHandle)
    with pytest.raises(MissingResult, match="by force"):
        State("COMPLETED", data=UnknownResult()).result()


@pytest.mark.parametrize("kind", ["SCHEDULED", "PENDING", "RUNNING", "CANCELLING"])
@pytest.mark.parametrize("raise_on_failure", [True, False])
def test_a_state_that_is_not_final_has_no_result(kind: str, raise_on_failure: bool) -> None:
    with pytest.raises(UnfinishedRun, match=kind.capitalize()):
        State(kind).result(raise_on_failure=raise_on_failure)


def test_a_paused_state_hands_itself_out() -> None:
    state = State[Any]("PAUSED")
    with pytest.raises(PausedRun) as caught:
        state.result()
    assert caught.value.state is state


@pytest.mark.parametrize("kind", ["FAILED", "CRASHED", "CANCELLED"])
@pytest.mark.parametrize("wrap", [Handle, lambda value: value], ids=["handle", "plain"])
def test_the_exception_of_a_run_is_raised_or_returned(kind: str, wrap: Callable[[Any], Any]) -> None:
    exc = ValueError("boom")
    state = State[Any](kind, data=wrap(exc))
    with pytest.raises(ValueError, match="boom") as caught:
        state.result()
    assert caught.value is exc
    assert state.result(raise_on_failure=False) is exc


@pytest.mark.parametrize(
    ("kind", "error"), [("FAILED", FailedRun), ("CRASHED", CrashedRun), ("CANCELLED", CancelledRun)]
)
@pytest.mark.parametrize("data", [None, LostHandle(1), Handle("text")], ids=["nothing", "lost", "no exception"])
def test_without_an_exception_the_message_makes_one(kind: str, error: type[Exception], data: Any) -> None:
    state = State[Any](kind, message="it broke", data=data)
    with pytest.raises(error, match="it broke"):
        state.result()
    assert isinstance(state.result(raise_on_failure=False), error)


def test_without_exception_and_message_the_name_is_told() -> None:
    with pytest.raises(FailedRun, match="'TimedOut'"):
        State("FAILED", "TimedOut").result()


@pytest.mark.parametrize("collect", [list, tuple, set], ids=["list", "tuple", "set"])
@pytest.mark.parametrize("wrap", [Handle, lambda value: value], ids=["handle", "plain"])
def test_a_state_for_several_raises_the_exception_of_the_one_that_failed(
    collect: Callable[[Any], Any], wrap: Callable[[Any], Any]
) -> None:
    inner = [State[Any]("COMPLETED", data=1), failed(data=ValueError("second"))]
    with pytest.raises(ValueError, match="second"):
        failed("1/2 states failed.", wrap(collect(inner))).result()


def test_the_first_failed_state_of_a_list_decides_whatever_its_kind() -> None:
    inner = [State[Any]("CANCELLED", message="first"), failed(data=ValueError("second"))]
    with pytest.raises(CancelledRun, match="first"):
        failed(data=inner).result()


def test_states_within_states_are_looked_into() -> None:
    with pytest.raises(KeyError):
        failed(data=[failed(data=failed(data=KeyError("deep")))]).result()


def test_a_failed_state_for_states_that_are_not_final_raises_its_message() -> None:
    with pytest.raises(FailedRun, match="1/1 states are not final"):
        failed("1/1 states are not final.", [State("PENDING", "NotReady")]).result()


def test_a_failed_state_for_several_returns_them_when_it_must_not_raise() -> None:
    inner = [failed(data=ValueError())]
    assert failed(data=inner).result(raise_on_failure=False) is inner


def test_fetch_returns_something_to_await() -> None:
    async def both() -> tuple[Any, Any]:
        completed = await State[int]("COMPLETED", data=5).result(fetch=True)
        exc = await failed(data=ValueError("boom")).result(raise_on_failure=False, fetch=True)
        return completed, exc

    value, exc = asyncio.run(both())
    assert value == 5
    assert isinstance(exc, ValueError)


# --- pickles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(StateType))
@pytest.mark.parametrize("through", [lambda s: pickle.loads(pickle.dumps(s)), copy.copy, copy.deepcopy])
def test_a_state_survives_pickle_and_copy(kind: StateType, through: Callable[[Any], Any]) -> None:
    state = State[Any](kind, "Custom", "text", {"a": 1}, {"task_run_id": new_id(), "scheduled_time": NOW}, NOW)
    back = through(state)
    assert back == state
    assert back.data == {"a": 1}
    assert back.type is kind


# --- records of details ------------------------------------------------------------------------------

TIMES = st.none() | st.datetimes(timezones=st.just(UTC))
IDS = st.none() | st.uuids()
TEXTS = st.none() | st.text(max_size=5)
DETAILS = st.builds(
    StateDetails,
    child_flow_run_id=IDS,
    scheduled_time=TIMES,
    cache_key=TEXTS,
    cache_expiration=TIMES,
    untrackable_result=st.booleans(),
    pause_timeout=TIMES,
    pause_reschedule=st.booleans(),
    pause_key=TEXTS,
    run_input_keyset=st.none() | st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
    refresh_cache=st.none() | st.booleans(),
    retriable=st.none() | st.booleans(),
    transition_id=IDS,
    task_parameters_id=IDS,
)


@given(DETAILS, IDS, IDS)
def test_details_come_back_from_their_record(details: StateDetails, flow_run_id: Any, task_run_id: Any) -> None:
    record = details.to_record()
    back = StateDetails.from_record(record, flow_run_id=flow_run_id, task_run_id=task_run_id)
    assert (back.flow_run_id, back.task_run_id) == (flow_run_id, task_run_id)
    assert back.to_record() == record
    for name in StateDetails.__slots__:
        if name not in ("flow_run_id", "task_run_id"):
            assert getattr(back, name) == getattr(details, name)


def test_a_record_leaves_out_what_is_not_set_and_ignores_what_it_does_not_know() -> None:
    assert NO_DETAILS.to_record() == {}
    assert StateDetails.from_record({"invented_later": 1}) == NO_DETAILS
