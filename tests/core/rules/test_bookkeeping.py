"""What a state changes in a run's columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.rules.bookkeeping import (
    apply_decision,
    enter_state,
    estimated_run_time,
    estimated_start_time_delta,
    stamp,
)
from flowyard.rules.decision import Decision, abort
from flowyard.schemas.ids import new_id
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateDetails, StateType

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
FUTURE = START + timedelta(days=1)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def state(kind: str, seconds: float, **details: Any) -> State[Any]:
    return State(kind, timestamp=at(seconds), state_details=StateDetails(**details))


@dataclass(slots=True)
class Row:
    """A row as the store keeps it while it replays the journal."""

    state: State[Any] | None = None
    run_count: int = 0
    expected_start_time: datetime | None = None
    next_scheduled_start_time: datetime | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    total_run_time: timedelta = timedelta(0)
    updated: datetime | None = None


def flow_run(**columns: Any) -> FlowRun:
    return FlowRun(new_id(), "calm-crab", **columns)


def task_run(**columns: Any) -> TaskRun:
    return TaskRun("key", "0", "work-0", "work", **columns)


ANY_RUN = pytest.mark.parametrize("make", [flow_run, task_run, Row], ids=["flow run", "task run", "row"])
COLUMNS = [name for name in Row.__slots__ if name != "state"]


@ANY_RUN
def test_a_run_that_goes_well_has_its_times_and_counts(make: Any) -> None:
    run = make()
    for entered in (state("PENDING", 0), state("RUNNING", 1), state("COMPLETED", 4)):
        enter_state(run, entered)
    assert run.state.type is StateType.COMPLETED
    assert (run.run_count, run.total_run_time) == (1, timedelta(seconds=3))
    assert (run.expected_start_time, run.start_time, run.end_time, run.updated) == (at(0), at(1), at(4), at(4))
    assert run.next_scheduled_start_time is None


@ANY_RUN
def test_a_scheduled_run_knows_when_it_should_start_until_it_is_taken(make: Any) -> None:
    run = make()
    enter_state(run, state("SCHEDULED", 0, scheduled_time=FUTURE))
    assert (run.expected_start_time, run.next_scheduled_start_time) == (FUTURE, FUTURE)
    enter_state(run, state("PENDING", 1))
    assert (run.expected_start_time, run.next_scheduled_start_time) == (FUTURE, None)


@ANY_RUN
def test_a_run_that_is_scheduled_again_has_the_new_time_only(make: Any) -> None:
    run = make()
    enter_state(run, state("SCHEDULED", 0, scheduled_time=at(1)))
    enter_state(run, state("SCHEDULED", 2, scheduled_time=at(5)))
    assert (run.expected_start_time, run.next_scheduled_start_time) == (at(1), at(5))


@ANY_RUN
def test_a_retry_counts_again_adds_its_time_and_keeps_the_first_start(make: Any) -> None:
    run = make()
    for entered in (
        state("RUNNING", 0),
        state("SCHEDULED", 2, scheduled_time=at(5)),
        state("RUNNING", 5),
        state("FAILED", 6),
    ):
        enter_state(run, entered)
    assert (run.run_count, run.total_run_time) == (2, timedelta(seconds=3))
    assert (run.start_time, run.end_time) == (at(0), at(6))


@ANY_RUN
def test_leaving_a_final_state_clears_the_end_and_another_final_state_keeps_it(make: Any) -> None:
    run = make()
    for entered in (state("RUNNING", 0), state("FAILED", 1), state("COMPLETED", 9)):
        enter_state(run, entered)
    assert run.end_time == at(1)
    enter_state(run, state("RUNNING", 10))
    assert run.end_time is None
    enter_state(run, state("COMPLETED", 12))
    assert run.end_time == at(12)


@ANY_RUN
def test_a_run_that_never_started_has_no_end(make: Any) -> None:
    run = make()
    enter_state(run, state("PENDING", 0))
    enter_state(run, state("CANCELLED", 1))
    assert (run.start_time, run.end_time) == (None, None)


@ANY_RUN
def test_a_clock_that_is_set_back_makes_no_negative_run_time(make: Any) -> None:
    run = make()
    enter_state(run, state("RUNNING", 100))
    enter_state(run, state("COMPLETED", 1))
    assert run.total_run_time == timedelta(0)


def test_a_resumed_flow_run_does_not_count_as_run_once_more() -> None:
    run = flow_run(run_count=1, resuming=True)
    enter_state(run, state("RUNNING", 0))
    assert (run.run_count, run.resuming) == (1, False)
    enter_state(run, state("RUNNING", 0))
    assert run.run_count == 2


@pytest.mark.parametrize("kind", ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"])
def test_a_final_state_ends_resuming(kind: str) -> None:
    run = flow_run(resuming=True)
    enter_state(run, state(kind, 0))
    assert run.resuming is False


def test_a_resuming_run_that_is_scheduled_is_still_resuming() -> None:
    run = flow_run(resuming=True)
    enter_state(run, state("SCHEDULED", 0, scheduled_time=at(0)))
    assert run.resuming is True


LIVES = st.lists(st.tuples(st.sampled_from(list(StateType)), st.integers(0, 100)), max_size=12)


@given(LIVES)
def test_task_run_flow_run_and_row_agree_whatever_happens(life: list[tuple[StateType, int]]) -> None:
    runs: list[Any] = [flow_run(), task_run(), Row()]
    for kind, seconds in life:
        entered = state(kind, seconds, scheduled_time=at(seconds + 5))
        for run in runs:
            enter_state(run, entered)
    if life:
        flow, task, row = ([getattr(run, name) for name in COLUMNS] for run in runs)
        assert flow == task == row


@given(LIVES)
def test_the_columns_never_contradict_the_state(life: list[tuple[StateType, int]]) -> None:
    run = Row()
    clock = 0
    for kind, step in life:
        clock += step
        enter_state(run, state(kind, clock, scheduled_time=at(clock + 5)))
        assert run.state is not None
        is_final = run.state.is_final()
        assert (run.end_time is not None) == (is_final and run.start_time is not None)
        assert (run.next_scheduled_start_time is not None) == run.state.is_scheduled()
        assert (run.start_time is not None) == (run.run_count > 0)
        assert run.expected_start_time is not None
        assert timedelta(0) <= run.total_run_time <= timedelta(seconds=clock)
    assert run.run_count == sum(kind is StateType.RUNNING for kind, _ in life)


# --- decisions --------------------------------------------------------------------------------------


def test_a_decision_without_a_state_leaves_the_run_as_it_is() -> None:
    run = task_run(state=state("RUNNING", 0), run_count=1)
    assert apply_decision(run, abort("no")) is False
    assert (run.state_type, run.run_count) == (StateType.RUNNING, 1)


def test_the_changes_of_a_decision_come_before_its_state() -> None:
    run = task_run(state=state("FAILED", 0), run_count=4)
    decision = Decision(Verdict.ACCEPT, state("RUNNING", 1), changes={"run_count": 0, "flow_run_run_count": 2})
    assert apply_decision(run, decision) is True
    assert (run.run_count, run.flow_run_run_count, run.state_type) == (1, 2, StateType.RUNNING)


# --- whose a state is -------------------------------------------------------------------------------


def test_a_stamped_state_has_the_ids_of_its_run() -> None:
    ids = StateDetails(flow_run_id=new_id(), task_run_id=new_id())
    plain, scheduled = State[Any]("RUNNING"), state("SCHEDULED", 0, scheduled_time=FUTURE, task_run_id=new_id())
    stamp(plain, ids)
    stamp(scheduled, ids)
    assert plain.state_details == ids
    assert scheduled.state_details == StateDetails(
        flow_run_id=ids.flow_run_id, task_run_id=ids.task_run_id, scheduled_time=FUTURE
    )


def test_stamping_keeps_ids_that_are_not_given() -> None:
    task_run_id = new_id()
    entered = state("RUNNING", 0, task_run_id=task_run_id)
    stamp(entered, StateDetails(flow_run_id=new_id()))
    assert entered.state_details.task_run_id == task_run_id


# --- derived ----------------------------------------------------------------------------------------


def test_the_run_time_of_a_running_run_grows() -> None:
    run = task_run(state=state("RUNNING", 10), total_run_time=timedelta(seconds=3))
    assert estimated_run_time(run, at(15)) == timedelta(seconds=8)
    assert estimated_run_time(run, at(5)) == timedelta(seconds=3)


def test_the_run_time_of_a_finished_run_stands() -> None:
    run = task_run(state=state("COMPLETED", 10), total_run_time=timedelta(seconds=3))
    assert estimated_run_time(run, at(15)) == timedelta(seconds=3)


@pytest.mark.parametrize(
    ("columns", "late"),
    [
        ({}, 0),
        ({"expected_start_time": at(0), "start_time": at(4)}, 4),
        ({"expected_start_time": at(4), "start_time": at(0)}, 0),
        ({"expected_start_time": at(0), "state": state("SCHEDULED", 0, scheduled_time=at(0))}, 20),
        ({"expected_start_time": FUTURE, "state": state("SCHEDULED", 0, scheduled_time=FUTURE)}, 0),
        ({"expected_start_time": at(0), "state": state("CANCELLED", 1)}, 0),
    ],
    ids=["nothing known", "started late", "started early", "overdue", "not due", "will never start"],
)
def test_lateness_counts_from_the_expected_start(columns: dict[str, Any], late: float) -> None:
    assert estimated_start_time_delta(flow_run(**columns), at(20)) == timedelta(seconds=late)
