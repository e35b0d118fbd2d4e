"""Every row of the table of flow-run rules, and the policies for force and late marking."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.rules.decision import Decision
from flowyard.rules.flow_runs import decide_flow_run, mirrored_state
from flowyard.schemas.ids import new_id
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import FINAL_TYPES, State, StateDetails, StateType

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=1)
LATER = NOW + timedelta(seconds=90)
FINAL = sorted(FINAL_TYPES)
UNFINISHED = sorted(set(StateType) - FINAL_TYPES)


class Kept:
    """A result handle of the given kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def get(self) -> int:
        return 1

    def to_record(self) -> dict[str, Any]:
        return {"type": self.kind}


def state(kind: str, name: str | None = None, *, data: object = None, message: str | None = None, **details: Any):
    if kind == "SCHEDULED":
        details.setdefault("scheduled_time", EARLIER)
    return State(kind, name, message, data, StateDetails(**details), EARLIER)


def flow_run(current: State[Any] | None, **columns: Any) -> FlowRun:
    return FlowRun(new_id(), "calm-crab", state=current, **columns)


def decide(current: State[Any] | None, proposed: State[Any], *, force: bool = False, **columns: Any) -> Decision:
    return decide_flow_run(flow_run(current, **columns), proposed, now=NOW, force=force)


def is_kept(decision: Decision) -> bool:
    return decision.verdict is Verdict.REJECT and decision.state is None and bool(decision.reason)


# --- the ordinary life of a run ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_type", "to_type"),
    [
        (None, "PENDING"),
        (None, "SCHEDULED"),
        ("SCHEDULED", "PENDING"),
        ("PENDING", "RUNNING"),
        ("RUNNING", "COMPLETED"),
        ("RUNNING", "FAILED"),
        ("RUNNING", "CRASHED"),
        ("RUNNING", "CANCELLING"),
        ("CANCELLING", "CANCELLED"),
        ("FAILED", "PENDING"),
        ("CRASHED", "PENDING"),
        ("CRASHED", "RUNNING"),
    ],
)
def test_an_ordinary_transition_is_accepted(from_type: str | None, to_type: str) -> None:
    decision = decide(state(from_type) if from_type else None, state(to_type))
    assert decision.verdict is Verdict.ACCEPT
    assert decision.state is not None
    assert decision.state.type == to_type


def test_an_accepted_state_without_changes_is_the_proposed_object() -> None:
    proposed = state("RUNNING")
    assert decide(state("PENDING"), proposed) == Decision(Verdict.ACCEPT, proposed)
    assert decide(state("PENDING"), proposed).state is proposed


# --- rule 1: duplicates -----------------------------------------------------------------------------


def test_a_transition_with_the_id_of_the_current_state_is_a_repetition_and_changes_nothing() -> None:
    same = new_id()
    assert is_kept(decide(state("RUNNING", transition_id=same), state("RUNNING", transition_id=same)))


@pytest.mark.parametrize("proposed_id", [None, new_id()], ids=["no id", "other id"])
def test_transitions_without_a_common_id_are_no_repetition(proposed_id: UUID | None) -> None:
    current_id = None if proposed_id is None else new_id()
    decision = decide(state("PENDING", transition_id=current_id), state("RUNNING", transition_id=proposed_id))
    assert decision.verdict is Verdict.ACCEPT


# --- rule 2: leaving a final state ------------------------------------------------------------------


@pytest.mark.parametrize("from_type", FINAL)
@pytest.mark.parametrize("to_type", ["CANCELLING", "PAUSED", "CRASHED"])
def test_a_run_that_has_ended_cannot_be_stopped_paused_or_crash(from_type: str, to_type: str) -> None:
    decision = decide(state(from_type), state(to_type))
    assert decision.verdict is Verdict.ABORT
    assert from_type in (decision.reason or "")


@pytest.mark.parametrize("kind", ["literal", "reference", "unknown"])
@pytest.mark.parametrize("to_type", ["PENDING", "RUNNING", "SCHEDULED"])
def test_a_completed_run_whose_result_is_kept_is_not_run_again(kind: str, to_type: str) -> None:
    assert is_kept(decide(state("COMPLETED", data=Kept(kind)), state(to_type)))


@pytest.mark.parametrize(
    "data", [None, Kept("unpersisted"), {"type": "reference"}, Kept], ids=["none", "unpersisted", "record", "class"]
)
def test_a_completed_run_whose_result_is_not_kept_may_run_again(data: object) -> None:
    assert decide(state("COMPLETED", data=data), state("RUNNING")).verdict is Verdict.ACCEPT


def test_a_completed_run_with_a_kept_result_may_enter_another_final_state() -> None:
    assert decide(state("COMPLETED", data=Kept("literal")), state("FAILED")).verdict is Verdict.ACCEPT


def test_a_run_without_deployment_that_has_ended_cannot_be_scheduled_again() -> None:
    assert decide(state("FAILED"), state("SCHEDULED")).verdict is Verdict.ABORT


@pytest.mark.parametrize(("to_type", "retry_type"), [("SCHEDULED", "reschedule"), ("PENDING", None), ("RUNNING", None)])
def test_running_a_run_again_forgets_its_pauses(to_type: str, retry_type: str | None) -> None:
    decision = decide(state("FAILED"), state(to_type), deployment_id=new_id(), pause_keys=frozenset({"1"}))
    assert decision.verdict is Verdict.ACCEPT
    assert decision.changes == {"resuming": False, "pause_keys": frozenset[str](), "retry_type": retry_type}


def test_a_final_state_after_a_final_state_changes_no_metadata() -> None:
    decision = decide(state("FAILED"), state("COMPLETED"), pause_keys=frozenset({"1"}))
    assert decision.verdict is Verdict.ACCEPT
    assert decision.changes is None


# --- rule 3: cancelling ends in cancelled -----------------------------------------------------------


@pytest.mark.parametrize("to_type", sorted(set(StateType) - {StateType.CANCELLED}))
def test_a_run_that_is_being_cancelled_can_only_become_cancelled(to_type: str) -> None:
    assert is_kept(decide(state("CANCELLING"), state(to_type), deployment_id=new_id()))


@pytest.mark.parametrize("to_type", ["PENDING", "RUNNING", "SCHEDULED", "FAILED", "COMPLETED"])
def test_a_cancelled_run_stays_cancelled(to_type: str) -> None:
    decision = decide(state("CANCELLED"), state(to_type), deployment_id=new_id(), pause_keys=frozenset({"1"}))
    assert is_kept(decision)
    assert decision.changes is None  # what an earlier rule changed is dropped


# --- rule 4: cancelling what nobody executes --------------------------------------------------------


@pytest.mark.parametrize(
    ("current", "pid"),
    [
        (state("SCHEDULED"), None),
        (state("SCHEDULED", "Late"), ""),
        (state("SCHEDULED", "Resuming"), "host:42"),
        (state("PAUSED", "Suspended", pause_reschedule=True), "host:42"),
    ],
    ids=["scheduled", "late", "resuming", "suspended"],
)
@pytest.mark.parametrize("force", [False, True], ids=["core", "forced"])
def test_cancelling_a_run_that_nobody_executes_cancels_it_at_once(
    current: State[Any], pid: str | None, force: bool
) -> None:
    proposed = state("CANCELLING", message="enough")
    decision = decide(current, proposed, infrastructure_pid=pid, deployment_id=new_id(), force=force)
    assert decision.verdict is Verdict.REJECT
    assert decision.state is not None
    assert (decision.state.type, decision.state.message) == (StateType.CANCELLED, "enough")
    assert decision.state.timestamp == NOW
    assert decision.state.id != proposed.id


def test_cancelling_a_scheduled_run_that_has_a_process_asks_that_process() -> None:
    decision = decide(state("SCHEDULED", "AwaitingRetry"), state("CANCELLING"), infrastructure_pid="host:42")
    assert decision.verdict is Verdict.ACCEPT


def test_cancelling_a_run_that_is_paused_in_its_process_asks_that_process() -> None:
    decision = decide(state("PAUSED"), state("CANCELLING"))
    assert decision.verdict is Verdict.ACCEPT
    assert decision.changes is None  # it does not go on


# --- rule 5: nobody takes a run twice ---------------------------------------------------------------


@pytest.mark.parametrize("from_type", ["PENDING", "RUNNING"])
def test_a_run_that_somebody_has_cannot_become_pending(from_type: str) -> None:
    assert decide(state(from_type), state("PENDING")).verdict is Verdict.ABORT


# --- rule 6: late -----------------------------------------------------------------------------------


@pytest.mark.parametrize("from_type", ["PENDING", "RUNNING"])
@pytest.mark.parametrize("is_late_marking", [False, True])
def test_only_a_scheduled_run_is_late(from_type: str, is_late_marking: bool) -> None:
    run = flow_run(state(from_type))
    assert is_kept(decide_flow_run(run, state("SCHEDULED", "Late"), now=NOW, is_late_marking=is_late_marking))


@pytest.mark.parametrize("is_late_marking", [False, True])
def test_a_scheduled_run_can_be_late(is_late_marking: bool) -> None:
    run = flow_run(state("SCHEDULED"))
    decision = decide_flow_run(run, state("SCHEDULED", "Late"), now=NOW, is_late_marking=is_late_marking)
    assert decision.verdict is Verdict.ACCEPT


def test_a_run_without_a_state_is_not_late() -> None:
    assert decide(None, state("SCHEDULED", "Late")).verdict is Verdict.ABORT


# --- rule 7: pausing --------------------------------------------------------------------------------


def test_a_run_without_a_state_cannot_be_paused() -> None:
    assert decide(None, state("PAUSED")).verdict is Verdict.ABORT


@pytest.mark.parametrize("from_type", ["SCHEDULED", "PENDING", "PAUSED"])
def test_only_a_running_run_can_be_paused(from_type: str) -> None:
    assert is_kept(decide(state(from_type), state("PAUSED")))


def test_a_pause_is_remembered_by_its_key() -> None:
    decision = decide(state("RUNNING"), state("PAUSED", pause_key="b"), pause_keys=frozenset({"a"}))
    assert decision.verdict is Verdict.ACCEPT
    assert decision.changes == {"pause_keys": frozenset({"a", "b"})}


def test_a_pause_fires_once() -> None:
    assert is_kept(decide(state("RUNNING"), state("PAUSED", pause_key="a"), pause_keys=frozenset({"a"})))


def test_pauses_without_a_key_are_all_different() -> None:
    first = decide(state("RUNNING"), state("PAUSED"))
    assert first.changes is not None
    second = decide(state("RUNNING"), state("PAUSED"), pause_keys=first.changes.get("pause_keys"))
    assert second.verdict is Verdict.ACCEPT
    assert second.changes is not None
    assert len(second.changes.get("pause_keys", ())) == 2


@pytest.mark.parametrize(
    ("columns", "verdict"),
    [
        ({"parent_task_run_id": new_id(), "deployment_id": new_id()}, Verdict.ABORT),
        ({}, Verdict.ABORT),
        ({"deployment_id": new_id()}, Verdict.ACCEPT),
    ],
    ids=["subflow", "no deployment", "deployed"],
)
def test_only_a_deployed_top_level_run_can_be_suspended(columns: dict[str, Any], verdict: Verdict) -> None:
    decision = decide(state("RUNNING"), state("PAUSED", "Suspended", pause_reschedule=True), **columns)
    assert decision.verdict is verdict


def test_a_subflow_can_be_paused_in_its_process() -> None:
    assert decide(state("RUNNING"), state("PAUSED"), parent_task_run_id=new_id()).verdict is Verdict.ACCEPT


# --- rule 8: resuming -------------------------------------------------------------------------------


@pytest.mark.parametrize("to_type", ["RUNNING", "SCHEDULED", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
def test_a_paused_run_resumes_or_ends(to_type: str) -> None:
    decision = decide(state("PAUSED", pause_timeout=LATER), state(to_type))
    assert decision.verdict is Verdict.ACCEPT
    assert decision.changes == {"resuming": True}


def test_a_paused_run_cannot_become_pending() -> None:
    assert is_kept(decide(state("PAUSED"), state("PENDING")))


def test_a_suspended_run_whose_deployment_is_gone_cannot_resume() -> None:
    assert is_kept(decide(state("PAUSED", pause_reschedule=True), state("SCHEDULED")))


def test_a_run_whose_pause_has_timed_out_fails_when_it_is_resumed() -> None:
    decision = decide(state("PAUSED", pause_timeout=EARLIER), state("RUNNING"))
    assert decision.verdict is Verdict.REJECT
    assert decision.state is not None
    assert decision.state.type is StateType.FAILED
    assert decision.state.message == "The flow was paused and never resumed."
    assert decision.changes is None


# --- rules 9 and 10: scheduled time -----------------------------------------------------------------


def test_a_pending_state_keeps_the_scheduled_time() -> None:
    proposed = state("PENDING", transition_id=new_id())
    decision = decide(state("SCHEDULED", scheduled_time=LATER), proposed)
    assert decision.state is not None
    assert decision.state.state_details.scheduled_time == LATER
    assert decision.state.state_details.transition_id == proposed.state_details.transition_id
    assert (decision.state.id, decision.state.timestamp) == (proposed.id, proposed.timestamp)
    assert proposed.state_details.scheduled_time is None


def test_a_pending_state_with_a_time_of_its_own_keeps_that() -> None:
    decision = decide(state("SCHEDULED", scheduled_time=EARLIER), state("PENDING", scheduled_time=LATER))
    assert decision.state is not None
    assert decision.state.state_details.scheduled_time == LATER


@pytest.mark.parametrize("from_type", ["SCHEDULED", "PENDING"])
def test_a_run_waits_for_its_time(from_type: str) -> None:
    decision = decide(state(from_type, scheduled_time=LATER), state("RUNNING"))
    assert (decision.verdict, decision.state, decision.delay_seconds) == (Verdict.WAIT, None, 90.0)


@pytest.mark.parametrize("from_type", ["SCHEDULED", "PENDING"])
@pytest.mark.parametrize("due", [EARLIER, NOW], ids=["past", "now"])
def test_a_run_whose_time_has_come_starts(from_type: str, due: datetime) -> None:
    assert decide(state(from_type, scheduled_time=due), state("RUNNING")).verdict is Verdict.ACCEPT


# --- rule 11: retries -------------------------------------------------------------------------------


@pytest.mark.parametrize("run_count", [1, 2])
def test_a_failed_run_with_retries_left_awaits_its_retry(run_count: int) -> None:
    failure = state("FAILED", message="boom", data=ValueError("boom"))
    policy = RetryPolicy(retries=2, delays=(10.0,))
    decision = decide(state("RUNNING"), failure, run_count=run_count, policy=policy, pause_keys=frozenset({"1"}))
    assert decision.verdict is Verdict.REJECT
    assert decision.state is not None
    assert (decision.state.type, decision.state.name) == (StateType.SCHEDULED, "AwaitingRetry")
    assert decision.state.state_details.scheduled_time == NOW + timedelta(seconds=10)
    assert (decision.state.message, decision.state.data) == ("boom", failure.data)
    assert decision.changes == {"resuming": False, "pause_keys": frozenset[str](), "retry_type": "in_process"}


def test_a_failed_run_without_retries_left_has_failed() -> None:
    decision = decide(state("RUNNING"), state("FAILED"), run_count=3, policy=RetryPolicy(retries=2))
    assert decision.verdict is Verdict.ACCEPT


def test_a_crashed_run_is_not_retried() -> None:
    assert decide(state("RUNNING"), state("CRASHED"), policy=RetryPolicy(retries=2)).verdict is Verdict.ACCEPT


# --- force ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_type", "to_type"),
    [("RUNNING", "PENDING"), ("CANCELLED", "RUNNING"), ("COMPLETED", "CRASHED"), ("RUNNING", "FAILED")],
)
def test_force_skips_the_core_rules(from_type: str, to_type: str) -> None:
    proposed = state(to_type)
    decision = decide(state(from_type), proposed, policy=RetryPolicy(retries=5), force=True)
    assert decision == Decision(Verdict.ACCEPT, proposed)


@pytest.mark.parametrize("from_type", ["FAILED", "CRASHED"])
def test_a_run_that_is_forced_to_completed_gets_an_unknown_result(from_type: str) -> None:
    proposed = state("COMPLETED")
    decision = decide(state(from_type, data=Kept("reference")), proposed, force=True)
    assert decision.state is not None
    assert decision.state.data.to_record() == {"type": "unknown"}
    assert decision.state.id == proposed.id
    assert proposed.data is None


@pytest.mark.parametrize("data", [None, Kept("unpersisted"), Kept("literal")])
def test_a_forced_completion_after_no_stored_result_is_written_as_it_is(data: object) -> None:
    proposed = state("COMPLETED")
    assert decide(state("FAILED", data=data), proposed, force=True).state is proposed


# --- all of them ------------------------------------------------------------------------------------

KINDS = st.sampled_from(list(StateType))
STATES = st.builds(
    state,
    KINDS,
    data=st.sampled_from([None, Kept("literal"), Kept("unpersisted")]),
    scheduled_time=st.sampled_from([EARLIER, LATER]),
    pause_key=st.sampled_from([None, "1"]),
    pause_reschedule=st.booleans(),
    pause_timeout=st.sampled_from([None, EARLIER, LATER]),
)
RUNS = st.builds(
    flow_run,
    st.none() | STATES,
    run_count=st.integers(0, 3),
    policy=st.builds(RetryPolicy, retries=st.integers(0, 2)),
    pause_keys=st.sampled_from([frozenset[str](), frozenset({"1"})]),
    deployment_id=st.none() | st.just(new_id()),
    parent_task_run_id=st.none() | st.just(new_id()),
    infrastructure_pid=st.sampled_from([None, "host:42"]),
)


def columns_of(run: FlowRun) -> dict[str, Any]:
    return {name: getattr(run, name) for name in FlowRun.__slots__}


@given(RUNS, STATES, st.booleans(), st.booleans())
def test_a_decision_changes_neither_run_nor_state_and_comes_out_the_same_again(
    run: FlowRun, proposed: State[Any], force: bool, is_late_marking: bool
) -> None:
    columns, before = columns_of(run), copy.copy(proposed)
    first = decide_flow_run(run, proposed, now=NOW, force=force, is_late_marking=is_late_marking)
    again = decide_flow_run(run, proposed, now=NOW, force=force, is_late_marking=is_late_marking)
    assert columns_of(run) == columns
    assert proposed == before
    assert first._replace(state=None) == again._replace(state=None)
    assert (first.state and first.state.type) == (again.state and again.state.type)


@given(RUNS, STATES, st.booleans())
def test_every_verdict_says_what_its_receiver_needs(run: FlowRun, proposed: State[Any], force: bool) -> None:
    decision = decide_flow_run(run, proposed, now=NOW, force=force)
    match decision.verdict:
        case Verdict.ACCEPT:
            assert decision.state is not None
            assert (decision.state.id, decision.state.type) == (proposed.id, proposed.type)
        case Verdict.REJECT:
            assert decision.reason
            assert decision.state is not None or run.state is not None
        case Verdict.WAIT:
            assert decision.state is None
            assert decision.delay_seconds > 0
        case Verdict.ABORT:
            assert decision.state is None
            assert decision.reason
    assert decision.state is not None or decision.changes is None


def test_the_parent_sees_the_state_of_its_subflow_as_a_state_of_its_own() -> None:
    run = flow_run(None, parent_task_run_id=new_id())
    original = state("FAILED", "TimedOut", message="too slow", flow_run_id=run.id, transition_id=new_id())
    mirrored = mirrored_state(run, original)
    assert (mirrored.type, mirrored.name, mirrored.message) == (StateType.FAILED, "TimedOut", "too slow")
    assert mirrored.id != original.id
    assert mirrored.timestamp == original.timestamp
    assert mirrored.state_details.child_flow_run_id == run.id
    assert mirrored.state_details.task_run_id == run.parent_task_run_id
