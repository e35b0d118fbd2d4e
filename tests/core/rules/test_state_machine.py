"""Whole lives of runs: what may never happen in any order of proposals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowyard.rules.bookkeeping import apply_decision
from flowyard.rules.decision import Decision
from flowyard.rules.flow_runs import decide_flow_run
from flowyard.rules.retries import settle_crash
from flowyard.rules.task_runs import TaskRunFacts, decide_task_run
from flowyard.schemas.ids import new_id
from flowyard.schemas.orchestration import Verdict
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateDetails, StateType

S = StateType
START = datetime(2024, 5, 1, 12, tzinfo=UTC)
FLOW_RUN = new_id()


class Kept:
    """A persisted result."""

    def get(self) -> int:
        return 1

    def to_record(self) -> dict[str, Any]:
        return {"type": "literal"}


def is_settled(state: State[Any]) -> bool:
    return state.type is S.COMPLETED and isinstance(state.data, Kept)


class AnyProposals(RuleBasedStateMachine):
    """A flow run that anybody proposes anything to."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.run = FlowRun(new_id(), "calm-crab")
        self.fired: list[str] = []

    @initialize(retries=st.integers(0, 2), is_deployed=st.booleans())
    def create(self, retries: int, is_deployed: bool) -> None:
        self.run = FlowRun(
            new_id(),
            "calm-crab",
            policy=RetryPolicy(retries=retries, delays=(5.0,)),
            deployment_id=new_id() if is_deployed else None,
        )

    @rule(seconds=st.integers(0, 10))
    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(
        kind=st.sampled_from(list(S)),
        is_kept=st.booleans(),
        key=st.sampled_from(["1", "2"]),
        ahead=st.integers(0, 8),
        reschedule=st.booleans(),
    )
    def propose(self, kind: StateType, is_kept: bool, key: str, ahead: int, reschedule: bool) -> None:
        due = self.now + timedelta(seconds=ahead)
        details = {
            S.SCHEDULED: StateDetails(scheduled_time=due),
            S.PAUSED: StateDetails(pause_key=key, pause_timeout=due, pause_reschedule=reschedule),
        }.get(kind, StateDetails())
        data = Kept() if kind is S.COMPLETED and is_kept else None
        before = self.run.state
        count, keys = self.run.run_count, self.run.pause_keys
        was_resuming = self.run.resuming
        decision = decide_flow_run(self.run, State(kind, None, None, data, details, self.now), now=self.now)
        is_written = apply_decision(self.run, decision)
        after = self.run.state
        assert is_written == (decision.state is not None)
        if not is_written:
            assert (self.run.state, self.run.run_count, self.run.pause_keys) == (before, count, keys)
            return
        assert after is not None
        if before is not None:
            self.check_leave(before, after)
        started = after.type is S.RUNNING and not was_resuming and (before is None or before.type is not S.PAUSED)
        assert self.run.run_count == count + started
        if after.type is S.PAUSED:
            assert key not in keys
            assert self.run.pause_keys == keys | {key}

    def check_leave(self, before: State[Any], after: State[Any]) -> None:
        if before.type in (S.CANCELLING, S.CANCELLED):
            assert after.type is S.CANCELLED
        if before.is_final():
            assert after.type not in (S.CANCELLING, S.PAUSED, S.CRASHED)
            assert after.is_final() or not is_settled(before)
        if after.type is S.PENDING:
            assert before.type not in (S.PENDING, S.RUNNING)
        if after.type is S.RUNNING and before.type in (S.SCHEDULED, S.PENDING):
            due = before.state_details.scheduled_time
            assert due is None or due <= self.now

    @invariant()
    def columns_agree(self) -> None:
        state = self.run.state
        if state is None:
            return
        assert (self.run.next_scheduled_start_time is not None) == state.is_scheduled()
        assert (self.run.end_time is not None) == (state.is_final() and self.run.start_time is not None)
        assert not (self.run.resuming and (state.is_final() or state.is_running()))


class OneTask(RuleBasedStateMachine):
    """A task run whose engine behaves, in a flow that is run again now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.flow_run_count = 1
        self.lost = 0
        self.failures = 0
        self.run = TaskRun("key", "0", "work-0", "work", flow_run_id=FLOW_RUN)

    @initialize(retries=st.integers(0, 3), crash_retries=st.integers(0, 2))
    def create(self, retries: int, crash_retries: int) -> None:
        policy = RetryPolicy(retries=retries, delays=(1.0, 4.0), crash_retries=crash_retries)
        self.run = TaskRun("key", "0", "work-0", "work", flow_run_id=FLOW_RUN, policy=policy)
        assert self.propose(State(S.PENDING, timestamp=self.now)).verdict is Verdict.ACCEPT

    def propose(self, state: State[Any]) -> Decision:
        facts = TaskRunFacts(S.RUNNING, self.flow_run_count, lost_attempts=self.lost)
        decision = decide_task_run(self.run, state, now=self.now, facts=facts)
        if decision.verdict is Verdict.WAIT:
            self.now += timedelta(seconds=decision.delay_seconds)
            return self.propose(State(state.type, timestamp=self.now))
        apply_decision(self.run, decision)
        return decision

    @property
    def state(self) -> State[Any]:
        assert self.run.state is not None
        return self.run.state

    @precondition(lambda self: self.state.type in (S.PENDING, S.SCHEDULED))
    @rule()
    def start(self) -> None:
        is_retry = self.state.name == "AwaitingRetry"
        assert self.propose(State(S.RUNNING, timestamp=self.now)).verdict is Verdict.ACCEPT
        assert self.state.name == ("Retrying" if is_retry else "Running")

    @precondition(lambda self: self.state.is_running())
    @rule(is_kept=st.booleans())
    def succeed(self, is_kept: bool) -> None:
        self.propose(State(S.COMPLETED, data=Kept() if is_kept else None, timestamp=self.now))
        assert self.state.is_completed()

    @precondition(lambda self: self.state.is_running())
    @rule(is_retriable=st.booleans())
    def fail(self, is_retriable: bool) -> None:
        self.failures += 1
        self.propose(State(S.FAILED, state_details=StateDetails(retriable=is_retriable), timestamp=self.now))
        assert self.state.is_failed() == (not is_retriable or self.failures > self.run.policy.retries)

    @precondition(lambda self: self.state.is_running())
    @rule()
    def lose_worker(self) -> None:
        self.lost += 1
        crash = State[Any](S.CRASHED, timestamp=self.now)
        self.propose(settle_crash(crash, crashes=self.lost, policy=self.run.policy, now=self.now))
        assert self.state.is_crashed() == (self.lost > self.run.policy.crash_retries)

    @precondition(lambda self: self.state.is_final())
    @rule()
    def run_the_flow_again(self) -> None:
        before = self.state
        self.flow_run_count += 1
        decision = self.propose(State(S.RUNNING, timestamp=self.now))
        if is_settled(before):
            assert decision.verdict is Verdict.REJECT
            assert self.run.state is before
            return
        assert self.state.name == "Retrying"
        assert self.run.run_count == 1
        self.lost = self.failures = 0

    @invariant()
    def attempts_stay_within_both_budgets(self) -> None:
        policy = self.run.policy
        assert self.run.run_count <= 1 + policy.retries + min(self.lost, policy.crash_retries)


TestAnyProposals = AnyProposals.TestCase
TestAnyProposals.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestOneTask = OneTask.TestCase
TestOneTask.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)
