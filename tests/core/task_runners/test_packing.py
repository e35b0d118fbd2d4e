"""Calls and outcomes as bytes."""

from __future__ import annotations

import dataclasses
import pickle
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowyard.engine.local_shim import LocalShim
from flowyard.exceptions import MissingResult, RemoteException, UnknownWireFormat, UnpicklableValue
from flowyard.results import UnpersistedResult
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import JournalEvent, LogEmitted, TaskRunEntered
from flowyard.schemas.ids import new_id
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.runs import FlowRun, TaskRun, utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.schemas.wire_values import packb
from flowyard.task_runners.base import CacheTicket, CallContext, Outcome, TaskCall, TaskSpec, Upstream
from flowyard.task_runners.envelopes import Envelope
from flowyard.task_runners.packing import (
    CallPacker,
    pack_call,
    pack_context,
    pack_spec,
    unpack_call,
    unpack_context,
)
from flowyard.task_runners.packing_outcomes import RemoteResult, pack_outcome, unpack_outcome
from flowyard.task_runners.pickling import pickled
from flowyard.testing.runners import EventList, make_call


def add(x: int, y: Any = 0) -> Any:
    return x + y


def unpacked(data: bytes, specs: dict[bytes, TaskSpec]) -> Any:
    return unpack_call(data, specs, shim=LocalShim(), recorder=EventList())


# --- calls ------------------------------------------------------------------------------------------------------


def test_a_call_comes_back_and_can_be_executed():
    made = make_call(add, x=40, y=2).call
    back = unpacked(pack_call(made), {})
    assert back.task_run.id == made.task_run.id
    assert back.arguments == {"x": 40, "y": 2}
    assert back.attempt == made.attempt
    assert back.shim.execute(back).state.result() == 42


def test_every_part_of_a_call_travels_or_stays_on_purpose():
    made = make_call(add, x=1).call
    made.attempt, made.needs = 3, (Upstream(0), Upstream(4, allow_failure=True))
    made.arguments = {"x": [Upstream(0)]}
    made.cache = CacheTicket("key", {"outcome": "miss", "components": {"inputs.x": "f00"}})
    back = unpacked(pack_call(made), {})
    assert back.attempt == 3
    assert back.cache == made.cache
    assert tuple(back.needs) == made.needs
    assert back.arguments == made.arguments
    # Whoever adds a part decides whether it travels.
    travels = {"arguments", "attempt", "cache", "context", "needs", "spec", "task_run"}
    stays = {"loop", "user_context", "shim", "recorder", "held", "meter", "resubmissions", "stop", "upcalls"}
    assert set(TaskCall.__slots__) == travels | stays


def test_the_function_is_shipped_once():
    made = make_call(add, x=1).call
    known: set[bytes] = set()
    specs: dict[bytes, TaskSpec] = {}
    first = pack_call(made, known)
    second = pack_call(made, known)
    assert len(second) < len(first) / 2
    assert unpacked(first, specs).spec is unpacked(second, specs).spec


def test_a_function_that_never_came_is_asked_for():
    made = make_call(add, x=1).call
    with pytest.raises(LookupError, match="was never sent here"):
        unpacked(pack_call(made, {pack_spec(made.spec).hash}), {})


def test_a_small_call_is_small():
    made = make_call(add, x=1).call
    packed = CallPacker().pack(made)
    assert len(packed.envelope.control) < 350
    assert not packed.envelope.buffers


def test_a_large_argument_is_left_out_of_the_control_part():
    packed = CallPacker().pack(make_call(add, x="x" * 1_000_000, y=1).call)
    assert len(packed.envelope.control) < 400
    assert sum(memoryview(buffer).nbytes for buffer in packed.envelope.buffers) > 1_000_000
    back = unpacked(pack_call(make_call(add, x="x" * 1_000_000).call), {})
    assert back.arguments == {"x": "x" * 1_000_000}


def test_what_calls_share_is_packed_once():
    packer = CallPacker()
    first, second = make_call(add, x=1).call, make_call(add, x=2).call
    second.spec, second.context = first.spec, first.context
    one, two = packer.pack(first), packer.pack(second)
    assert one.spec is two.spec
    assert one.context is two.context


def test_a_changed_flow_run_is_packed_again():
    packer = CallPacker()
    call = make_call(add, x=1).call
    before = packer.pack(call).context
    assert call.context.flow_run is not None
    call.context.flow_run.name = "renamed"
    after = packer.pack(call).context
    assert unpack_context(before.data).flow_run.name != "renamed"  # type: ignore[union-attr]
    assert unpack_context(after.data).flow_run.name == "renamed"  # type: ignore[union-attr]


def test_a_packer_does_not_keep_every_function_it_has_seen():
    packer = CallPacker()
    for _ in range(400):
        packer.pack(make_call(add, x=1).call)
    assert len(packer._specs) <= 256


def test_every_field_of_the_context_travels():
    context = CallContext(
        flow_run=FlowRun(new_id(), "run", parameters={"a": 1}, state=State(StateType.RUNNING)),
        flow_name="flow",
        tags=frozenset({"a", "b"}),
        deadline=datetime(2030, 1, 1, tzinfo=UTC),
        flow_timeout_seconds=1.5,
        longest_wait_in_place=7.5,
        transaction="1/key:orders",
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        settings={"FLOWYARD_LOGGING_LEVEL": "DEBUG"},
    )
    back = unpack_context(pack_context(context).data)
    default = CallContext(None)
    for field in dataclasses.fields(CallContext):
        given, got = getattr(context, field.name), getattr(back, field.name)
        assert given != getattr(default, field.name), f"{field.name} needs a value here, and a place on the wire"
        if field.name == "flow_run":
            assert (got.id, got.parameters, got.state_name) == (given.id, {"a": 1}, "Running")
        else:
            assert got == given


def test_an_argument_that_cannot_be_pickled_is_named():
    with pytest.raises(UnpicklableValue, match=r"argument 'y' of task 'add' \(a _thread.lock\)"):
        pack_call(make_call(add, x=1, y=threading.Lock()).call)


def test_a_condition_that_cannot_be_pickled_is_named():
    lock = threading.Lock()
    call = make_call(add, x=1).call
    call.spec = dataclasses.replace(call.spec, retry_condition_fn=lambda *_: lock)
    with pytest.raises(UnpicklableValue, match=r"variable 'lock' in `retry_condition_fn` of task 'add'"):
        pack_call(call)


def test_bytes_of_another_version_are_refused():
    with pytest.raises(UnknownWireFormat, match="version 99"):
        unpacked(Envelope(packb([99, b"", None, b""])).to_bytes(), {})


# --- outcomes -------------------------------------------------------------------------------------------------------


def finished(data: Any, kind: StateType = StateType.COMPLETED) -> tuple[TaskRun, Outcome]:
    """Return a run as the flow's process knows it, and the outcome of its copy in a worker."""
    here = make_call(add, x=1).call.task_run
    there = unpacked(pack_call(make_call(add, x=1).call), {}).task_run
    there.id = here.id
    running = State(StateType.RUNNING)
    enter_state(there, running)
    state: State[Any] = State(kind, message="a message", data=data, state_details=StateDetails(task_run_id=there.id))
    enter_state(there, state)
    there.name = "renamed"
    log = LogEmitted(there.flow_run_id, there.id, "flowyard.task_runs", 20, "hello", utcnow())
    events: list[JournalEvent] = [TaskRunEntered(there.id, running), log, TaskRunEntered(there.id, state)]
    return here, Outcome(there, state, events, metrics=TaskMetrics("worker-1", worker_seconds=1.5))


def test_an_outcome_comes_back_with_the_bookkeeping_and_the_events():
    here, outcome = finished(UnpersistedResult([1, 2]))
    back = unpack_outcome(pack_outcome(outcome), here)
    assert back.state == outcome.state
    assert back.state.result() == [1, 2]
    assert outcome.metrics is not None
    assert back.metrics is not None
    assert back.metrics.worker == "worker-1"
    assert back.metrics.worker_seconds is not None
    assert back.metrics.worker_seconds > 1.5, "packing is part of what keeps a worker busy"
    assert back.metrics.bytes_out == len(pickle.dumps([1, 2], protocol=5))
    there = outcome.task_run
    for name in ("name", "run_count", "start_time", "end_time", "total_run_time", "updated", "expected_start_time"):
        assert getattr(back.task_run, name) == getattr(there, name), name
    assert back.task_run is not here
    assert here.run_count == 0, "the run of the flow's process is not touched"
    running, log, completed = back.events
    assert isinstance(running, TaskRunEntered)
    assert running.state.name == "Running"
    assert log == outcome.events[1]
    assert isinstance(completed, TaskRunEntered)
    assert completed.state is back.state


class Loud:
    loaded = 0

    def __reduce__(self) -> Any:
        return Loud.make, ()

    @classmethod
    def make(cls) -> Loud:
        cls.loaded += 1
        return cls()


def test_a_value_is_read_when_it_is_asked_for_and_once():
    here, outcome = finished(UnpersistedResult(Loud()))
    back = unpack_outcome(pack_outcome(outcome), here)
    assert Loud.loaded == 0
    assert "not read yet" in repr(back.state.data)
    assert back.state.result() is back.state.result()
    assert Loud.loaded == 1


def test_a_value_that_was_not_persisted_says_so_in_its_record():
    here, outcome = finished(UnpersistedResult(1))
    data = unpack_outcome(pack_outcome(outcome), here).state.data
    assert data.to_record() == {"type": "unpersisted"}


class Kept:
    """Stands for a handle of a persisted value: small, and able to read it."""

    def get(self) -> str:
        return "from storage"

    def to_record(self) -> dict[str, Any]:
        return {"type": "reference", "storage_key": "abc"}


def test_a_persisted_value_travels_as_its_handle():
    here, outcome = finished(Kept())
    data = unpack_outcome(pack_outcome(outcome), here).state.data
    assert data.to_record() == {"type": "reference", "storage_key": "abc"}
    assert data.get() == "from storage"


def test_a_value_that_was_dropped_is_missing_here_too():
    here, outcome = finished(UnpersistedResult())
    state = unpack_outcome(pack_outcome(outcome), here).state
    for _ in range(2):
        with pytest.raises(MissingResult, match="neither persisted nor kept in memory"):
            state.result()


def test_a_state_without_data_has_none_here_too():
    here, outcome = finished(None, StateType.CANCELLED)
    assert unpack_outcome(pack_outcome(outcome), here).state.data is None


def test_an_exception_is_known_without_being_rebuilt():
    here, outcome = finished(UnpersistedResult(ValueError("no")), StateType.FAILED)
    back = unpack_outcome(pack_outcome(outcome, "worker 3"), here)
    assert back.state.data.failure[:2] == ("ValueError", "no")
    error = back.state.result(raise_on_failure=False)
    assert type(error) is ValueError
    with pytest.raises(ValueError, match="no"):
        back.state.result()


def test_an_exception_whose_class_is_gone_is_described():
    class Gone(Exception):
        def __reduce__(self) -> Any:
            return _cannot_be_rebuilt, ()

    here, outcome = finished(Gone("bye"), StateType.FAILED)
    error = unpack_outcome(pack_outcome(outcome), here).state.result(raise_on_failure=False)
    assert isinstance(error, RemoteException)
    assert error.message == "bye"


def _cannot_be_rebuilt() -> Any:
    raise ImportError("no such class here")


def test_a_value_that_cannot_be_rebuilt_here_is_named():
    class Stubborn:
        def __reduce__(self) -> Any:
            return _cannot_be_rebuilt, ()

    here, outcome = finished(UnpersistedResult(Stubborn()))
    state = unpack_outcome(pack_outcome(outcome), here).state
    with pytest.raises(UnpicklableValue, match=r"result of task .add. .* cannot rebuild it: ImportError: no such"):
        state.result()


def test_a_value_that_cannot_be_pickled_turns_completed_into_failed_everywhere():
    here, outcome = finished(UnpersistedResult(threading.Lock()))
    completed_at = outcome.state.timestamp
    back = unpack_outcome(pack_outcome(outcome), here)
    assert back.state.type is StateType.FAILED
    assert back.state.timestamp == completed_at
    assert back.task_run.state is back.state
    assert back.is_synthesised, "the engine must log that the run failed"
    names = [event.state.name for event in back.events if isinstance(event, TaskRunEntered)]
    assert names == ["Running", "Failed"]
    assert back.task_run.end_time == completed_at
    assert back.task_run.total_run_time >= timedelta(0)
    with pytest.raises(UnpicklableValue, match="result of task 'add'"):
        back.state.result()


def test_a_result_that_came_from_a_worker_travels_on():
    here, outcome = finished(UnpersistedResult({"x": b"y" * 200_000}))
    data = unpack_outcome(pack_outcome(outcome), here).state.data
    unread = pickled(data).load()
    assert isinstance(unread, RemoteResult)
    assert unread.get() == data.get()
    read = pickled(data).load()
    assert read.get() == data.get()
    assert read.to_record() == data.to_record()
