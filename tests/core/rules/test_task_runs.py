"""Every row of the table of task-run rules, and the policies for force and for runs outside of a flow."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.rules.decision import Decision
from flowyard.rules.task_runs import (
    TagSlots,
    TaskRunFacts,
    cache_entry,
    decide_task_run,
    releases_slots,
)
from flowyard.schemas.ids import new_id
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import FINAL_TYPES, State, StateDetails, StateType

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(minutes=1)
LATER = NOW + timedelta(seconds=90)
FLOW_RUN = new_id()
IN_RUNNING_FLOW = TaskRunFacts(StateType.RUNNING, 1)
WHERE = pytest.mark.parametrize("flow_run_id", [FLOW_RUN, None], ids=["in a flow", "outside"])


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


def task_run(current: State[Any] | None, *, flow_run_id: UUID | None = FLOW_RUN, **columns: Any) -> TaskRun:
    return TaskRun("key", "0", "work-0", "work", flow_run_id=flow_run_id, state=current, **columns)


def decide(
    current: State[Any] | None,
    proposed: State[Any],
    *,
    facts: TaskRunFacts = IN_RUNNING_FLOW,
    force: bool = False,
    spread: float | None = None,
    **columns: Any,
) -> Decision:
    run = task_run(current, **columns)
    return decide_task_run(run, proposed, now=NOW, facts=facts, force=force, spread=spread)


def is_kept(decision: Decision) -> bool:
    return decision.verdict is Verdict.REJECT and decision.state is None and bool(decision.reason)


# --- the ordinary life of a run ---------------------------------------------------------------------


@WHERE
@pytest.mark.parametrize(
    ("from_type", "to_type"),
    [
        (None, "PENDING"),
        (None, "SCHEDULED"),
        ("SCHEDULED", "PENDING"),
        ("SCHEDULED", "RUNNING"),
        ("PENDING", "RUNNING"),
        ("RUNNING", "COMPLETED"),
        ("RUNNING", "FAILED"),
        ("RUNNING", "CRASHED"),
        ("RUNNING", "SCHEDULED"),
    ],
)
def test_an_ordinary_transition_is_accepted(from_type: str | None, to_type: str, flow_run_id: UUID | None) -> None:
    decision = decide(state(from_type) if from_type else None, state(to_type), flow_run_id=flow_run_id)
    assert decision.verdict is Verdict.ACCEPT
    assert decision.state is not None
    assert decision.state.type == to_type


# --- rule 1: the cache ------------------------------------------------------------------------------

HIT = state("COMPLETED", data=Kept("reference"), message="done", cache_key="k", task_run_id=new_id())


@WHERE
@pytest.mark.parametrize("expiration", [None, LATER], ids=["for ever", "still valid"])
def test_a_run_whose_result_is_cached_is_completed_without_running(
    expiration: datetime | None, flow_run_id: UUID | None
) -> None:
    cached = state("COMPLETED", data=Kept("reference"), message="done", cache_key="k", cache_expiration=expiration)
    own = new_id()
    proposed = state("RUNNING", cache_key="k", task_run_id=own)
    facts = IN_RUNNING_FLOW._replace(cached_state=cached)
    decision = decide(state("PENDING"), proposed, facts=facts, flow_run_id=flow_run_id)
    assert decision.verdict is Verdict.REJECT
    found = decision.state
    assert found is not None
    assert (found.type, found.name, found.message, found.data) == (
        StateType.COMPLETED,
        "Cached",
        "done",
        cached.data,
    )
    assert found.id not in (cached.id, proposed.id)
    assert found.timestamp == NOW
    assert found.state_details.task_run_id == own
    assert found.state_details.cache_expiration == expiration


@pytest.mark.parametrize(
    ("cached", "details"),
    [
        (HIT, {}),
        (HIT, {"cache_key": "k", "refresh_cache": True}),
        (state("COMPLETED", cache_key="k", cache_expiration=NOW), {"cache_key": "k"}),
        (None, {"cache_key": "k"}),
    ],
    ids=["no key proposed", "refresh", "expired", "nothing found"],
)
def test_a_run_without_a_usable_cache_entry_runs(cached: State[Any] | None, details: dict[str, Any]) -> None:
    facts = IN_RUNNING_FLOW._replace(cached_state=cached)
    assert decide(state("PENDING"), state("RUNNING", **details), facts=facts).verdict is Verdict.ACCEPT


def test_the_cache_is_looked_at_before_slots_and_before_the_flow() -> None:
    facts = TaskRunFacts(StateType.CANCELLING, 1, HIT, (TagSlots("db", 0, 0),))
    decision = decide(state("PENDING"), state("RUNNING", cache_key="k"), facts=facts)
    assert decision.state is not None
    assert decision.state.name == "Cached"


# --- rule 2: leaving a final state ------------------------------------------------------------------


@WHERE
@pytest.mark.parametrize("from_type", sorted(FINAL_TYPES))
@pytest.mark.parametrize("to_type", ["CANCELLING", "PAUSED", "CRASHED"])
def test_a_run_that_has_ended_cannot_be_stopped_paused_or_crash(
    from_type: str, to_type: str, flow_run_id: UUID | None
) -> None:
    assert decide(state(from_type), state(to_type), flow_run_id=flow_run_id).verdict is Verdict.ABORT


@pytest.mark.parametrize("kind", ["literal", "reference", "unknown"])
@pytest.mark.parametrize("to_type", ["PENDING", "RUNNING", "SCHEDULED", "FAILED", "COMPLETED"])
def test_a_completed_run_whose_result_is_kept_stays_so(kind: str, to_type: str) -> None:
    if to_type == "PENDING":
        assert is_kept(decide(state("COMPLETED", data=Kept(kind)), state(to_type), flow_run_id=None))
    assert is_kept(decide(state("COMPLETED", data=Kept(kind)), state(to_type)))


@pytest.mark.parametrize("to_type", ["PENDING", "RUNNING", "SCHEDULED"])
def test_running_a_run_again_starts_its_count_anew(to_type: str) -> None:
    decision = decide(state("FAILED"), state(to_type), run_count=3, flow_run_run_count=1)
    assert decision.verdict is Verdict.ACCEPT
    assert decision.changes == {"run_count": 0}
    assert decision.state is not None
    assert decision.state.name == to_type.capitalize()


def test_a_final_state_after_a_final_state_keeps_the_count() -> None:
    assert decide(state("FAILED"), state("COMPLETED"), run_count=3).changes is None


def test_a_run_that_runs_again_because_its_flow_does_is_retrying() -> None:
    decision = decide(
        state("FAILED"),
        state("RUNNING"),
        run_count=3,
        flow_run_run_count=1,
        facts=IN_RUNNING_FLOW._replace(flow_run_run_count=2),
    )
    assert decision.state is not None
    assert decision.state.name == "Retrying"
    assert decision.changes == {"run_count": 0, "flow_run_run_count": 2}


@pytest.mark.parametrize(
    "facts",
    [TaskRunFacts(StateType.CANCELLED, 1), IN_RUNNING_FLOW._replace(slots=(TagSlots("db", 1, 1),))],
    ids=["aborted", "waiting"],
)
def test_the_count_is_kept_when_a_later_rule_refuses(facts: TaskRunFacts) -> None:
    assert decide(state("FAILED"), state("RUNNING"), run_count=3, facts=facts).changes is None


# --- rule 3: the flow must run ----------------------------------------------------------------------


@pytest.mark.parametrize("flow_type", [None, *sorted(set(StateType) - {StateType.RUNNING, StateType.PAUSED})])
def test_no_task_starts_in_a_flow_that_does_not_run(flow_type: StateType | None) -> None:
    decision = decide(state("PENDING"), state("RUNNING"), facts=TaskRunFacts(flow_type, 1))
    assert decision.verdict is Verdict.ABORT


def test_a_task_of_a_paused_flow_is_paused_with_it() -> None:
    facts = TaskRunFacts(StateType.PAUSED, 1, pause_timeout=LATER, pause_reschedule=True)
    decision = decide(state("PENDING"), state("RUNNING", task_run_id=FLOW_RUN), facts=facts)
    assert decision.verdict is Verdict.REJECT
    paused = decision.state
    assert paused is not None
    assert (paused.type, paused.name) == (StateType.PAUSED, "NotReady")
    assert paused.state_details == StateDetails(task_run_id=FLOW_RUN, pause_timeout=LATER, pause_reschedule=True)


def test_a_task_outside_of_a_flow_needs_no_flow() -> None:
    decision = decide(state("PENDING"), state("RUNNING"), facts=TaskRunFacts(), flow_run_id=None)
    assert decision.verdict is Verdict.ACCEPT


# --- rule 4: concurrency slots ----------------------------------------------------------------------


@WHERE
def test_a_run_takes_a_slot_of_each_of_its_tags_in_order(flow_run_id: UUID | None) -> None:
    facts = IN_RUNNING_FLOW._replace(slots=(TagSlots("net", 2, 1), TagSlots("db", 1, 0)))
    decision = decide(state("PENDING"), state("RUNNING"), facts=facts, flow_run_id=flow_run_id)
    assert decision.verdict is Verdict.ACCEPT
    assert decision.take_slots == ("db", "net")


def test_a_run_waits_when_one_of_its_tags_is_full_and_takes_nothing() -> None:
    facts = IN_RUNNING_FLOW._replace(slots=(TagSlots("db", 2, 0), TagSlots("net", 1, 1)), slot_wait_seconds=7.0)
    decision = decide(state("PENDING"), state("RUNNING"), facts=facts)
    assert (decision.verdict, decision.delay_seconds, decision.take_slots) == (Verdict.WAIT, 7.0, ())
    assert "'net'" in (decision.reason or "")


def test_a_tag_with_limit_zero_stops_the_run() -> None:
    facts = IN_RUNNING_FLOW._replace(slots=(TagSlots("db", 0, 0),))
    decision = decide(state("PENDING"), state("RUNNING"), facts=facts)
    assert decision.verdict is Verdict.ABORT
    assert decision.take_slots == ()


def test_a_slot_that_the_run_holds_already_is_not_taken_again() -> None:
    facts = IN_RUNNING_FLOW._replace(slots=(TagSlots("db", 1, 1, is_held=True), TagSlots("net", 1, 0)))
    decision = decide(state("RUNNING"), state("RUNNING"), facts=facts)
    assert decision.verdict is Verdict.ACCEPT
    assert decision.take_slots == ("net",)


@pytest.mark.parametrize("kind", list(StateType))
def test_slots_are_given_back_unless_the_run_still_executes(kind: StateType) -> None:
    assert releases_slots(state(kind)) is (kind not in (StateType.RUNNING, StateType.CANCELLING))


# --- rules 5 and 6: scheduled time ------------------------------------------------------------------


@WHERE
def test_a_pending_state_keeps_the_scheduled_time(flow_run_id: UUID | None) -> None:
    decision = decide(state("SCHEDULED", scheduled_time=LATER), state("PENDING"), flow_run_id=flow_run_id)
    assert decision.state is not None
    assert decision.state.state_details.scheduled_time == LATER


@WHERE
@pytest.mark.parametrize("from_type", ["SCHEDULED", "PENDING"])
def test_a_run_waits_for_its_time(from_type: str, flow_run_id: UUID | None) -> None:
    due = NOW + timedelta(milliseconds=250)
    decision = decide(state(from_type, scheduled_time=due), state("RUNNING"), flow_run_id=flow_run_id)
    assert (decision.verdict, decision.state, decision.delay_seconds) == (Verdict.WAIT, None, 0.25)


@pytest.mark.parametrize("from_type", ["SCHEDULED", "PENDING"])
def test_a_run_whose_time_has_come_starts(from_type: str) -> None:
    assert decide(state(from_type, scheduled_time=NOW), state("RUNNING")).verdict is Verdict.ACCEPT


# --- rule 7: retries --------------------------------------------------------------------------------


@WHERE
@pytest.mark.parametrize(("run_count", "delay"), [(1, 1.0), (2, 5.0), (3, 5.0)])
def test_a_failed_run_with_retries_left_awaits_its_retry(
    run_count: int, delay: float, flow_run_id: UUID | None
) -> None:
    failure = state("FAILED", message="boom", data=ValueError("boom"), retriable=True)
    policy = RetryPolicy(retries=3, delays=(1.0, 5.0))
    decision = decide(state("RUNNING"), failure, run_count=run_count, policy=policy, flow_run_id=flow_run_id)
    assert decision.verdict is Verdict.REJECT
    assert decision.state is not None
    assert (decision.state.type, decision.state.name) == (StateType.SCHEDULED, "AwaitingRetry")
    assert decision.state.state_details.scheduled_time == NOW + timedelta(seconds=delay)
    assert (decision.state.message, decision.state.data) == ("boom", failure.data)


@pytest.mark.parametrize(
    ("run_count", "retriable"), [(4, True), (4, None), (1, False)], ids=["spent", "spent too", "condition says no"]
)
def test_a_failed_run_without_retries_has_failed(run_count: int, retriable: bool | None) -> None:
    failure = state("FAILED", retriable=retriable)
    decision = decide(state("RUNNING"), failure, run_count=run_count, policy=RetryPolicy(retries=3))
    assert decision == Decision(Verdict.ACCEPT, failure)


def test_attempts_lost_with_a_worker_use_up_no_retry() -> None:
    facts = IN_RUNNING_FLOW._replace(lost_attempts=2)
    policy = RetryPolicy(retries=1, delays=(1.0, 5.0))
    assert decide(state("RUNNING"), state("FAILED"), run_count=3, policy=policy, facts=facts).state is not None
    retried = decide(state("RUNNING"), state("FAILED"), run_count=3, policy=policy, facts=facts)
    assert retried.verdict is Verdict.REJECT
    assert retried.state is not None
    assert retried.state.state_details.scheduled_time == NOW + timedelta(seconds=1)
    assert decide(state("RUNNING"), state("FAILED"), run_count=4, policy=policy, facts=facts).verdict is Verdict.ACCEPT


def test_a_policy_with_jitter_spreads_the_retry() -> None:
    policy = RetryPolicy(retries=1, delays=(10.0,), jitter_factor=1.0)
    dues = [
        decide(state("RUNNING"), state("FAILED"), run_count=1, policy=policy, spread=spread).state
        for spread in (0.0, 0.5, 0.999)
    ]
    times = [due.state_details.scheduled_time for due in dues if due is not None]
    assert times == sorted(set(times), key=lambda time: time or NOW)
    assert len(times) == 3


def test_a_policy_with_jitter_refuses_to_decide_without_a_draw() -> None:
    policy = RetryPolicy(retries=1, delays=(10.0,), jitter_factor=1.0)
    with pytest.raises(ValueError, match="spread=None"):
        decide(state("RUNNING"), state("FAILED"), run_count=1, policy=policy)


# --- rules 8 and 9: names and the count of the flow -------------------------------------------------


@WHERE
@pytest.mark.parametrize(
    ("current", "run_count", "name"),
    [
        (state("PENDING"), 0, "Running"),
        (state("SCHEDULED", "AwaitingRetry"), 1, "Retrying"),
        (state("PENDING"), 1, "Rerunning"),
        (state("SCHEDULED"), 1, "Rerunning"),
        (None, 1, "Rerunning"),
    ],
)
def test_a_run_that_runs_again_says_so(
    current: State[Any] | None, run_count: int, name: str, flow_run_id: UUID | None
) -> None:
    proposed = state("RUNNING")
    decision = decide(current, proposed, run_count=run_count, flow_run_id=flow_run_id)
    assert decision.state is not None
    assert decision.state.name == name
    assert decision.state.id == proposed.id
    assert proposed.name == "Running"


def test_a_run_that_starts_notes_how_often_its_flow_has_run() -> None:
    facts = IN_RUNNING_FLOW._replace(flow_run_run_count=4)
    assert decide(state("PENDING"), state("RUNNING"), facts=facts).changes == {"flow_run_run_count": 4}
    assert decide(state("PENDING"), state("RUNNING"), facts=facts, flow_run_run_count=4).changes is None


# --- rule 10: what is stored for the cache ----------------------------------------------------------


def test_a_completed_state_with_a_key_goes_into_the_cache() -> None:
    entered = state("COMPLETED", cache_key="k", cache_expiration=LATER)
    assert cache_entry(entered) == ("k", LATER, entered.id)


@pytest.mark.parametrize("entered", [state("COMPLETED"), state("FAILED", cache_key="k")], ids=["no key", "failed"])
def test_nothing_else_goes_into_the_cache(entered: State[Any]) -> None:
    assert cache_entry(entered) is None


# --- force, and runs outside of a flow --------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_type", "to_type"), [("COMPLETED", "CRASHED"), ("RUNNING", "FAILED"), ("CANCELLED", "RUNNING")]
)
def test_force_skips_the_core_rules(from_type: str, to_type: str) -> None:
    proposed = state(to_type)
    decision = decide(
        state(from_type), proposed, policy=RetryPolicy(retries=5), run_count=1, facts=TaskRunFacts(), force=True
    )
    assert decision == Decision(Verdict.ACCEPT, proposed)


@pytest.mark.parametrize("from_type", ["FAILED", "CRASHED"])
def test_a_run_that_is_forced_to_completed_gets_an_unknown_result(from_type: str) -> None:
    decision = decide(state(from_type, data=Kept("reference")), state("COMPLETED"), force=True)
    assert decision.state is not None
    assert decision.state.data.to_record() == {"type": "unknown"}


@pytest.mark.parametrize("force", [False, True], ids=["core", "forced"])
@pytest.mark.parametrize("from_type", ["PENDING", "RUNNING", "CANCELLING", "CANCELLED"])
def test_a_run_outside_of_a_flow_is_taken_once_even_by_force(from_type: str, force: bool) -> None:
    decision = decide(state(from_type), state("PENDING"), flow_run_id=None, force=force)
    assert decision.verdict is Verdict.ABORT


def test_a_run_in_a_flow_may_become_pending_again() -> None:
    assert decide(state("PENDING"), state("PENDING", "NotReady")).verdict is Verdict.ACCEPT


def test_a_run_outside_of_a_flow_can_say_once_that_it_is_not_ready() -> None:
    not_ready = state("PENDING", "NotReady")
    assert decide(state("PENDING"), not_ready, flow_run_id=None).verdict is Verdict.ACCEPT
    assert decide(not_ready, state("PENDING", "NotReady"), flow_run_id=None).verdict is Verdict.ABORT


# --- all of them ------------------------------------------------------------------------------------

STATES = st.builds(
    state,
    st.sampled_from(list(StateType)),
    data=st.sampled_from([None, Kept("literal"), Kept("unpersisted"), Kept("reference")]),
    scheduled_time=st.sampled_from([EARLIER, LATER]),
    cache_key=st.sampled_from([None, "k"]),
    retriable=st.sampled_from([None, True, False]),
)
RUNS = st.builds(
    task_run,
    st.none() | STATES,
    flow_run_id=st.sampled_from([None, FLOW_RUN]),
    run_count=st.integers(0, 3),
    flow_run_run_count=st.integers(0, 2),
    policy=st.builds(RetryPolicy, retries=st.integers(0, 2)),
)
FACTS = st.builds(
    TaskRunFacts,
    st.none() | st.sampled_from(list(StateType)),
    st.integers(0, 2),
    cached_state=st.sampled_from([None, HIT]),
    slots=st.lists(st.builds(TagSlots, st.sampled_from("ab"), st.integers(0, 2), st.integers(0, 2)), max_size=2).map(
        tuple
    ),
    slot_wait_seconds=st.floats(0.1, 60.0),
)


def columns_of(run: TaskRun) -> dict[str, Any]:
    return {name: getattr(run, name) for name in TaskRun.__slots__}


@given(RUNS, STATES, FACTS, st.booleans())
def test_a_decision_changes_neither_run_nor_state_and_says_what_its_receiver_needs(
    run: TaskRun, proposed: State[Any], facts: TaskRunFacts, force: bool
) -> None:
    columns, before = columns_of(run), copy.copy(proposed)
    decision = decide_task_run(run, proposed, now=NOW, facts=facts, force=force)
    assert columns_of(run) == columns
    assert proposed == before
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
    assert not decision.take_slots or (decision.verdict is Verdict.ACCEPT and proposed.is_running())
