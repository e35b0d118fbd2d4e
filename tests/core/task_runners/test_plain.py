"""Calls and outcomes of which nearly nothing has to be told: they must come out as they would the general way."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.engine.local_shim import LocalShim
from flowyard.exceptions import UnpicklableValue
from flowyard.results import UnpersistedResult
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import LogEmitted, TaskRunEntered, TaskRunRenamed
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.runs import TaskRun, utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.schemas.wire_values import packb, unpackb
from flowyard.task_runners.base import CacheTicket, Outcome, TaskCall, Upstream
from flowyard.task_runners.packing import ArrivedCall, CallPacker
from flowyard.task_runners.packing_outcomes import pack_outcome, unpack_outcome
from flowyard.task_runners.pickling import pickled
from flowyard.task_runners.plain_calls import ArrivedPlainCalls, pack_plain_calls
from flowyard.task_runners.plain_outcomes import pack_plain, unpack_plain
from flowyard.testing.runners import EventList, make_call

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=300),
    st.binary(max_size=50),
    st.lists(st.integers(), max_size=5),
    st.dictionaries(st.text(max_size=5), st.tuples(st.integers()), max_size=3),
)


def add(x: Any, y: Any = 0) -> Any:
    return x + y


def calls_of(*given: dict[str, Any]) -> list[TaskCall]:
    """Return calls as a map makes them: what they share is the same object."""
    calls = [make_call(add, **arguments).call for arguments in given]
    for number, call in enumerate(calls):
        call.spec, call.context = calls[0].spec, calls[0].context
        run, shared = call.task_run, calls[0].task_run
        run.task_key, run.flow_run_id, run.policy = shared.task_key, shared.flow_run_id, shared.policy
        run.dynamic_key, run.name = str(number), f"add-{number}"
        run.state = run.expected_start_time = run.updated = None
        enter_state(run, State(StateType.PENDING))
    return calls


def facts(run: TaskRun) -> dict[str, Any]:
    told = {field.name: getattr(run, field.name) for field in dataclasses.fields(run)}
    told["state"] = None if run.state is None else told_of(run.state)
    return told


def told_of(state: State[Any]) -> tuple[Any, ...]:
    return (state.type, state.name, state.message, state.state_details, state.timestamp, state.id)


def event_facts(event: Any) -> tuple[Any, ...]:
    return event if isinstance(event, LogEmitted) else (event.task_run_id, *told_of(event.state))


# --- calls ------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(values, values), min_size=1, max_size=4))
def test_calls_arrive_as_they_would_one_by_one(given: list[tuple[Any, Any]]):
    calls = calls_of(*({"x": x, "y": y} for x, y in given))
    packer = CallPacker()
    packed = pack_plain_calls(calls, packer)
    assert packed is not None
    arrived = ArrivedPlainCalls(packed.data)
    assert (arrived.spec_hash, arrived.context_hash) == (packed.spec.hash, packed.context.hash)
    assert len(arrived) == len(calls)
    for call, plain in zip(calls, arrived, strict=True):
        general = ArrivedCall(packer.pack(call).envelope)
        assert facts(plain.task_run) == facts(general.task_run) == facts(call.task_run)
        sent: dict[str, Any] = {
            "spec": call.spec,
            "context": call.context,
            "shim": LocalShim(),
            "recorder": EventList(),
        }
        one, other = plain.open(**sent), general.open(**sent)
        assert repr(one.arguments) == repr(other.arguments) == repr(call.arguments)
        assert (one.attempt, list(one.needs), one.cache) == (other.attempt, list(other.needs), other.cache)


@pytest.mark.parametrize(
    "change",
    [
        lambda call: setattr(call, "attempt", 1),
        lambda call: setattr(call, "resubmissions", 1),
        lambda call: setattr(call, "needs", (Upstream(0),)),
        lambda call: setattr(call, "cache", CacheTicket("key", {})),
        lambda call: setattr(call, "spec", make_call(add, x=1).call.spec),
        lambda call: setattr(call, "context", make_call(add, x=1).call.context),
        lambda call: setattr(call, "arguments", {"y": 1}),
        lambda call: setattr(call, "arguments", {"x": bytes(1 << 20)}),
        lambda call: setattr(call.task_run, "tags", ("other",)),
        lambda call: setattr(call.task_run, "task_inputs", {"x": [{"input_type": "task_run", "id": "1"}]}),
        lambda call: setattr(call.task_run, "run_count", 1),
        lambda call: setattr(call.task_run, "parent_task_run_id", call.task_run.id),
        lambda call: setattr(call.task_run, "task_version", "2"),
        lambda call: setattr(call.task_run, "flow_run_run_count", 7),
        lambda call: setattr(call.task_run, "expected_start_time", utcnow() - timedelta(days=1)),
        lambda call: enter_state(call.task_run, State(StateType.SCHEDULED, name="AwaitingRetry")),
        lambda call: setattr(call.task_run.state, "message", "said"),
        lambda call: setattr(call.task_run.state, "state_details", StateDetails(flow_run_id=call.task_run.id)),
    ],
)
def test_a_call_with_something_special_goes_the_general_way(change: Any):
    calls = calls_of({"x": 1}, {"x": 2}, {"x": 3})
    assert pack_plain_calls(calls, CallPacker()) is not None
    change(calls[1])
    assert pack_plain_calls(calls, CallPacker()) is None


def test_a_call_that_cannot_be_packed_is_named():
    with pytest.raises(UnpicklableValue, match="argument 'x' of task 'add'"):
        pack_plain_calls(calls_of({"x": 1}, {"x": (n for n in [1])}), CallPacker())


def test_an_argument_that_cannot_be_rebuilt_is_named():
    packed = pack_plain_calls(calls_of({"x": [1]}), CallPacker())
    assert packed is not None
    wire = unpackb(packed.data)
    wire[5][0][6][0] = b"no pickle"
    (arrived,) = ArrivedPlainCalls(packb(wire))
    made = make_call(add, x=1).call
    with pytest.raises(UnpicklableValue, match="argument 'x' of task 'add'"):
        arrived.open(spec=made.spec, context=made.context, shim=made.shim, recorder=made.recorder)


# --- outcomes ---------------------------------------------------------------------------------------------------


def completed(value: Any) -> tuple[TaskRun, Outcome]:
    """Return a run as the flow's process knows it, and how its call ended where it executed."""
    (call,) = calls_of({"x": 1})
    sent = call.task_run
    run = dataclasses.replace(sent)
    details = StateDetails(flow_run_id=run.flow_run_id, task_run_id=run.id)
    running = State(StateType.RUNNING, state_details=details)
    enter_state(run, running)
    state = State(StateType.COMPLETED, data=UnpersistedResult(value), state_details=details)
    enter_state(run, state)
    line = LogEmitted(run.flow_run_id, run.id, "flowyard.task_runs", 20, "said \ud800", utcnow())
    entered = TaskRunEntered(run.id, running), TaskRunEntered(run.id, state)
    events: list[Any] = [line, entered[0], line._replace(message="more"), entered[1], line._replace(level=10)]
    return sent, Outcome(run, state, events, metrics=TaskMetrics(worker="w", began=1.5, run_seconds=0.25))


@given(values)
def test_an_outcome_arrives_as_it_would_the_general_way(value: Any):
    sent, outcome = completed(value)
    before = facts(sent)
    wire = pack_plain(outcome, stays=False, value=pickled(value))
    assert wire is not None
    plain = unpack_plain(unpackb(packb(wire)), sent, "here")
    general = unpack_outcome(pack_outcome(outcome), sent)
    assert facts(sent) == before
    assert facts(plain.task_run) == facts(general.task_run) == facts(outcome.task_run)
    assert told_of(plain.state) == told_of(general.state) == told_of(outcome.state)
    assert plain.task_run.state is plain.state
    assert repr(plain.state.result()) == repr(general.state.result()) == repr(value)
    assert plain.state.data.to_record() == general.state.data.to_record()
    assert [event_facts(event) for event in plain.events] == [event_facts(event) for event in outcome.events]
    assert plain.metrics is not None
    assert outcome.metrics is not None
    assert plain.metrics == outcome.metrics._replace(bytes_out=pickled(value).size)


def test_a_value_that_stays_is_not_in_the_outcome():
    sent, outcome = completed([1] * 1000)
    wire = pack_plain(outcome, stays=True, value=None)
    assert len(packb(wire)) < 400
    assert wire is not None
    assert unpack_plain(wire, sent, "here").state.data is None


@pytest.mark.parametrize(
    "change",
    [
        lambda outcome: setattr(outcome, "lost_worker", "w"),
        lambda outcome: setattr(outcome, "is_synthesised", True),
        lambda outcome: setattr(outcome.task_run, "run_count", 2),
        lambda outcome: outcome.events.append(LogEmitted(None, None, "name", 20, "text", utcnow())),
        lambda outcome: outcome.events.append(TaskRunRenamed(outcome.task_run.id, "new")),
        lambda outcome: outcome.events.append(outcome.events[1]),
        lambda outcome: outcome.events.pop(1),
        lambda outcome: outcome.events.pop(3),
        lambda outcome: outcome.events.reverse(),
        lambda outcome: setattr(outcome.state, "name", "Cached"),
        lambda outcome: setattr(outcome.state, "message", "said"),
        lambda outcome: setattr(outcome.state, "state_details", StateDetails(cache_key="key")),
        lambda outcome: setattr(outcome.state, "data", None),
    ],
)
def test_an_outcome_with_more_to_tell_goes_the_general_way(change: Any):
    _, outcome = completed(1)
    assert pack_plain(outcome, stays=False, value=None) is not None
    change(outcome)
    assert pack_plain(outcome, stays=False, value=None) is None


def test_a_value_that_nobody_has_pickled_goes_the_general_way():
    _, outcome = completed([1])
    assert pack_plain(outcome, stays=False, value=None) is None


@pytest.mark.parametrize(("value", "size"), [(1.5, 8), ("x" * 200, 200)])
def test_a_short_scalar_needs_no_pickle_and_has_a_size(value: Any, size: int):
    sent, outcome = completed(value)
    wire = pack_plain(outcome, stays=False, value=None)
    assert wire is not None
    back = unpack_plain(wire, sent, "here")
    assert back.state.result() == value
    assert back.metrics is not None
    assert back.metrics.bytes_out == size
