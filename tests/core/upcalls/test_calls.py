from __future__ import annotations

import math
import queue
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.exceptions import (
    ObjectNotFound,
    RemoteException,
    UnknownWireFormat,
    UpcallTimeout,
    UpcallUnavailable,
)
from flowyard.local.backend import LocalBackend
from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.filters import ArtifactFilter, FlowRunFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.limits import ConcurrencyLimit, SlotMode, SlotRequest
from flowyard.schemas.states import State, StateType
from flowyard.schemas.variables import VariableRecord
from flowyard.testing.records import begin
from flowyard.upcalls.calls import Question, answer, open_answer, pack_error
from flowyard.upcalls.channel import UpcallChannel
from flowyard.upcalls.desk import UpcallDesk
from flowyard.upcalls.values import pack_value, unpack_value
from flowyard.upcalls.worker import OpenQuestions, upcall_control_plane

DEADLINE = 90.0
STRANGE = b"\xc1"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.timedeltas()
    | st.datetimes(timezones=st.just(UTC))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.frozensets(st.integers() | st.text())
    ),
    max_leaves=20,
)


@given(VALUES)
def test_a_value_comes_back_as_it_was_with_its_type(value: Any) -> None:
    back = unpack_value(pack_value(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        VariableRecord("x", {"a": [1]}, ["t"]),
        ArtifactRecord(key="k", data=[1.5], flow_run_id=new_id(), metadata={"a": "b"}),
        ArtifactFilter(keys=("a", "b"), is_latest=True),
        FlowRunFilter(ids=(UUID(int=1),), state_types=(StateType.RUNNING,)),
        SlotRequest(names=("a",), slots=2, mode=SlotMode.RATE_LIMIT),
        SlotMode.CONCURRENCY,
        {"nested": [VariableRecord("x", None), (1, 2), {3}, timedelta(seconds=1), NOON]},
    ],
    ids=lambda value: type(value).__name__,
)
def test_records_of_the_schemas_travel(value: Any) -> None:
    back = unpack_value(pack_value(value))
    assert back == value
    assert type(back) is type(value)


def test_a_state_travels_without_its_value() -> None:
    back = unpack_value(pack_value(State(StateType.COMPLETED, "Fine", message="m", data=object())))
    assert (back.type, back.name, back.message) == (StateType.COMPLETED, "Fine", "m")


class Mine:
    pass


@pytest.mark.parametrize(
    "value",
    [Mine(), [Mine()], {"a": Mine()}, Mine, math.sin],
    ids=["object", "object in a list", "object in a dict", "class", "function"],
)
def test_what_is_neither_plain_nor_of_the_schemas_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot travel.*plain data"):
        pack_value(value)


@pytest.mark.parametrize("name", ["os:system", "runs:utcnow", "runs:datetime", "nothing:Nothing", "runs:Nothing", "x"])
def test_only_classes_that_the_schemas_define_are_made(name: str) -> None:
    forged: Any = msgpack.packb(msgpack.ExtType(0, pack_value([name, {}])))
    with pytest.raises(UnknownWireFormat):
        unpack_value(forged)


@pytest.fixture
def backend():
    with LocalBackend.in_memory() as opened:
        yield opened


class Line:
    """A channel to a control plane that knows what was asked."""

    def __init__(self, control: Any) -> None:
        self.desk = UpcallDesk(lambda: control)
        self.asked: list[str] = []
        self._questions = OpenQuestions()

    def __call__(self, question: bytes, timeout: float) -> bytes:
        if question != STRANGE:
            self.asked.append(Question(*unpack_value(question)).name)
        return self._questions.ask(
            lambda key: self.desk.take(question, lambda found: self._questions.answered({key: found})), timeout
        )

    def control_plane(self, timeout: float = 10.0) -> Any:
        return upcall_control_plane(UpcallChannel("TestRunner", self), timeout=timeout)


@pytest.fixture
def line(backend: LocalBackend):
    line = Line(backend.control)
    yield line
    line.desk.close()
    for thread in threading.enumerate():
        if thread.name in ("flowyard-slot-turn", "flowyard-turns"):
            thread.join(DEADLINE)
            assert not thread.is_alive(), "a thread still waits for a turn"


@pytest.fixture
def remote(line: Line):
    return line.control_plane()


def test_the_control_plane_of_a_worker_does_what_the_one_of_the_flow_does(backend: LocalBackend, remote: Any) -> None:
    run, _ = begin(backend)
    assert remote.variables.create(VariableRecord("x", 1)).name == "x"
    assert remote.variables.read("x") == backend.control.variables.read("x")
    made = remote.artifacts.create(ArtifactRecord(key="k"))
    assert backend.control.artifacts.find_latest("k") == made
    assert remote.artifacts.read_many(ArtifactFilter(keys=("k",)), limit=1) == [made]
    assert remote.read_flow_run(run.id).name == run.name
    assert remote.count_flow_runs() == 1
    assert remote.propose_flow_run_state(run.id, State(StateType.COMPLETED)).status == "ACCEPT"


def test_limits_are_asked_without_what_only_means_something_there(backend: LocalBackend, remote: Any) -> None:
    backend.control.limits.create(ConcurrencyLimit(name="one", limit=1))
    request = SlotRequest(names=("one",), slots=1)
    assert remote.limits.acquire(request, when_freed=lambda: None).is_granted
    assert not remote.limits.acquire(SlotRequest(names=("one",), slots=1), when_freed=lambda: None).is_granted
    remote.limits.release([request.lease_id])
    assert backend.control.limits.read("one").active_slots == 0


def test_a_freed_slot_wakes_who_waits_elsewhere_and_nobody_asks_meanwhile(
    backend: LocalBackend, line: Line, remote: Any
) -> None:
    limits, freed = backend.control.limits, threading.Event()
    limits.create(ConcurrencyLimit(name="one", limit=1))
    holder, waiter = SlotRequest(names=("one",), slots=1), SlotRequest(names=("one",), slots=1)
    assert limits.acquire(holder).is_granted
    denied = remote.limits.acquire(waiter, when_freed=freed.set)
    assert (denied.is_granted, denied.is_called, freed.is_set()) == (False, True, False)
    limits.release([holder.lease_id])
    assert freed.wait(DEADLINE)
    assert remote.limits.acquire(waiter, when_freed=freed.set).is_granted
    remote.limits.release([waiter.lease_id])
    asked = ["limits.acquire", "limits.wait_for_turn", "limits.acquire", "limits.release"]
    assert line.asked == asked


def test_who_waits_long_asks_for_its_turn_again_and_keeps_its_place(backend: LocalBackend, line: Line) -> None:
    limits, freed, remote = backend.control.limits, threading.Event(), line.control_plane(timeout=0.5)
    limits.create(ConcurrencyLimit(name="one", limit=1))
    holder, first = SlotRequest(names=("one",), slots=1), SlotRequest(names=("one",), slots=1)
    assert limits.acquire(holder).is_granted
    assert not remote.limits.acquire(first, when_freed=freed.set).is_granted
    deadline = time.monotonic() + DEADLINE
    while line.asked.count("limits.wait_for_turn") < 3:
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    assert not freed.is_set()
    assert limits.acquire(SlotRequest(names=("one",), slots=1)).position == 1
    limits.release([holder.lease_id])
    assert freed.wait(DEADLINE)
    remote.limits.release([first.lease_id])


def test_the_place_of_a_worker_that_does_not_ask_again_is_kept_no_more(backend: LocalBackend, line: Line) -> None:
    limits = backend.control.limits
    limits.create(ConcurrencyLimit(name="one", limit=1))
    assert limits.acquire(SlotRequest(names=("one",), slots=1)).is_granted
    waiter = SlotRequest(names=("one",), slots=1)
    assert not limits.acquire(waiter).is_granted
    question = Question("limits", "wait_for_turn", (waiter.lease_id, 0.01), {}).pack()
    assert open_answer(line(question, DEADLINE)) is False
    assert not backend.journal.slot_waiters.has_place(waiter.lease_id)


def test_a_wait_ends_with_the_request(backend: LocalBackend, line: Line, remote: Any) -> None:
    limits = backend.control.limits
    limits.create(ConcurrencyLimit(name="one", limit=1))
    assert limits.acquire(SlotRequest(names=("one",), slots=1)).is_granted
    waiter, answers = SlotRequest(names=("one",), slots=1), queue.SimpleQueue[Any]()
    assert not limits.acquire(waiter).is_granted
    question = Question("limits", "wait_for_turn", (waiter.lease_id, 3600.0), {}).pack()
    thread = threading.Thread(target=lambda: answers.put(open_answer(line(question, DEADLINE))))
    thread.start()
    deadline = time.monotonic() + DEADLINE
    while not backend.journal.slot_waiters.has_place(waiter.lease_id):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
    remote.limits.release([waiter.lease_id])
    assert answers.get(timeout=DEADLINE) is False
    thread.join(DEADLINE)


def test_an_error_is_raised_with_its_type_and_fields(remote: Any) -> None:
    missing = new_id()
    with pytest.raises(ObjectNotFound) as caught:
        remote.artifacts.read(missing)
    assert (caught.value.kind, caught.value.key) == ("artifact", missing)
    with pytest.raises(ValueError, match="lowercase"):
        remote.variables.create(VariableRecord("Upper", 1))


class Strange(Exception):
    pass


@pytest.mark.parametrize("error", [Strange("odd"), ValueError(Mine())], ids=["class", "field"])
def test_an_error_that_cannot_travel_is_described(error: Exception) -> None:
    with pytest.raises(RemoteException, match=type(error).__name__):
        open_answer(pack_error(error))


@pytest.mark.parametrize(
    "question",
    [
        Question("", "begin_flow_run", (), {}),
        Question("", "reap_dead_runs", (NOON,), {}),
        Question("", "_read", (), {}),
        Question("limits", "watch", (NOON, None), {}),
        Question("variables", "_journal", (), {}),
        Question("variables", "__init__", (), {}),
        Question("_journal", "close", (), {}),
        Question("__class__", "mro", (), {}),
    ],
    ids=lambda question: question.name,
)
def test_what_a_worker_may_not_ask_is_refused(backend: LocalBackend, question: Question) -> None:
    with pytest.raises(PermissionError, match="cannot be called from a remote task"):
        open_answer(answer(backend.control, question))


def test_a_message_of_something_else_is_answered_with_an_error(line: Line) -> None:
    with pytest.raises((RemoteException, TypeError, ValueError)):
        open_answer(line(STRANGE, DEADLINE))


def test_looking_for_dead_runs_is_left_to_others(line: Line, remote: Any) -> None:
    assert remote.reap_dead_runs(NOON) == []
    assert line.asked == []


def test_a_runner_without_a_channel_says_so() -> None:
    with pytest.raises(UpcallUnavailable, match=r"'variables\.read' cannot be asked here.*pass the value"):
        upcall_control_plane(None, timeout=5).variables.read("x")


def test_silence_is_an_error_that_names_call_and_runner() -> None:
    questions = OpenQuestions()
    channel = UpcallChannel("TestRunner", lambda question, timeout: questions.ask(lambda key: None, timeout))
    with pytest.raises(UpcallTimeout, match=r"TestRunner.*'variables\.read'.*within 0 s"):
        upcall_control_plane(channel, timeout=0).variables.read("x")


def test_answers_find_who_asked_and_late_ones_are_dropped(backend: LocalBackend) -> None:
    questions, desk = OpenQuestions(), UpcallDesk(lambda: backend.control)
    late: list[bytes] = []

    def ask(question: bytes, timeout: float) -> bytes:
        def send(key: bytes) -> None:
            late.append(key)
            desk.take(question, lambda found: questions.answered({key: found}))

        return questions.ask(send, timeout)

    remote = upcall_control_plane(UpcallChannel("TestRunner", ask), timeout=30)
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        remote.variables.create(VariableRecord(f"n{number}", number))
        found[number] = remote.variables.read(f"n{number}").value

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    desk.close()
    assert found == {number: number for number in range(8)}
    questions.answered({late[0]: b"again"})


def test_a_backend_that_cannot_be_opened_is_told_to_who_asked() -> None:
    def refuse() -> Any:
        raise ObjectNotFound("backend", "x")

    desk = UpcallDesk(refuse)
    answers: list[bytes] = []
    is_there = threading.Event()

    def reply(found: bytes) -> None:
        answers.append(found)
        is_there.set()

    desk.take(Question("variables", "read", ("x",), {}).pack(), reply)
    assert is_there.wait(90)
    desk.close()
    with pytest.raises(ObjectNotFound, match="no backend 'x'"):
        open_answer(answers[0])
