"""The packed form of records."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.exceptions import MissingResult, UnknownWireFormat
from flowyard.schemas.events import LogEmitted, TaskRunCreated, TaskRunEntered, TaskRunMeasured, TaskRunRenamed
from flowyard.schemas.ids import new_id
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.policies import NO_RETRIES, RetryPolicy
from flowyard.schemas.recorded_result import RecordedResult
from flowyard.schemas.runs import FlowRun, StartInfo, TaskRun
from flowyard.schemas.states import NO_DETAILS, State, StateDetails, StateType
from flowyard.schemas.wire import (
    VERSION,
    decode_events,
    encode,
    encode_events,
    pack,
    unpack,
)
from flowyard.schemas.wire_values import packb, plain, unpackb

# --- everything a record can hold -----------------------------------------------------------------------

texts = st.text(max_size=30)
ids = st.uuids()
times = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
intervals = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=4000))
counts = st.integers(0, 2**40)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | ids | times | intervals
plain_data = st.recursive(
    scalars | st.dates() | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
parameters = st.dictionaries(texts, plain_data, max_size=4)

policies = st.just(NO_RETRIES) | st.builds(
    RetryPolicy,
    retries=st.integers(0, 1000),
    delays=st.lists(st.floats(0, 1e6), max_size=5).map(tuple),
    jitter_factor=maybe(st.floats(0, 10)),
    crash_retries=st.integers(0, 50),
)
details = st.just(NO_DETAILS) | st.builds(
    StateDetails,
    flow_run_id=maybe(ids),
    task_run_id=maybe(ids),
    child_flow_run_id=maybe(ids),
    scheduled_time=maybe(times),
    cache_key=maybe(texts),
    cache_expiration=maybe(times),
    untrackable_result=st.booleans(),
    pause_timeout=maybe(times),
    pause_reschedule=st.booleans(),
    pause_key=maybe(texts),
    run_input_keyset=maybe(st.dictionaries(texts, texts, max_size=3)),
    refresh_cache=maybe(st.booleans()),
    retriable=maybe(st.booleans()),
    transition_id=maybe(ids),
    task_parameters_id=maybe(ids),
    cache_trace=maybe(st.dictionaries(texts, plain_data, max_size=3)),
)
records_of_results = st.dictionaries(texts, plain_data, min_size=1, max_size=3).map(RecordedResult)
states = st.builds(
    State,
    type=st.sampled_from(StateType),
    name=maybe(texts),
    message=maybe(texts),
    data=maybe(records_of_results),
    state_details=details,
    timestamp=times,
    id=ids,
)
inputs = st.dictionaries(
    texts,
    st.lists(
        ids.map(lambda value: {"input_type": "task_run", "id": str(value)})
        | texts.map(lambda text: {"input_type": "task_run", "id": text})
        | texts.map(lambda text: {"input_type": "parameter", "name": text}),
        max_size=3,
    ),
    max_size=3,
)
seconds = st.floats(0, 1e6)
metrics = st.builds(
    TaskMetrics,
    worker=maybe(texts),
    began=maybe(seconds),
    worker_seconds=maybe(seconds),
    queue_seconds=maybe(seconds),
    load_seconds=maybe(seconds),
    run_seconds=maybe(seconds),
    cpu_seconds=maybe(seconds),
    memory_growth=maybe(counts),
    bytes_in=maybe(counts),
    bytes_out=maybe(counts),
)
task_runs = st.builds(
    TaskRun,
    task_key=texts,
    dynamic_key=texts,
    name=texts,
    task_name=texts,
    flow_run_id=maybe(ids),
    parent_task_run_id=maybe(ids),
    id=ids,
    task_version=maybe(texts),
    tags=st.lists(texts, max_size=3).map(tuple),
    policy=policies,
    task_inputs=inputs,
    cache_key=maybe(texts),
    cache_expiration=maybe(times),
    flow_run_run_count=counts,
    state=maybe(states),
    run_count=counts,
    expected_start_time=maybe(times),
    next_scheduled_start_time=maybe(times),
    start_time=maybe(times),
    end_time=maybe(times),
    total_run_time=intervals,
    created=times,
    updated=maybe(times),
    metrics=maybe(metrics),
)
flow_runs = st.builds(
    FlowRun,
    flow_id=ids,
    name=texts,
    id=ids,
    flow_name=texts,
    flow_version=maybe(texts),
    parameters=parameters,
    context=parameters,
    tags=st.lists(texts, max_size=3),
    policy=policies,
    pause_keys=st.frozensets(texts, max_size=3),
    resuming=st.booleans(),
    retry_type=st.sampled_from([None, "in_process", "reschedule"]),
    parent_task_run_id=maybe(ids),
    deployment_id=maybe(ids),
    infrastructure_pid=maybe(texts),
    idempotency_key=maybe(texts),
    start=st.builds(StartInfo, maybe(texts), maybe(texts), maybe(texts), maybe(texts)),
    state=maybe(states),
    run_count=counts,
    expected_start_time=maybe(times),
    next_scheduled_start_time=maybe(times),
    start_time=maybe(times),
    end_time=maybe(times),
    total_run_time=intervals,
    created=times,
    updated=times,
)
events = (
    st.builds(TaskRunCreated, task_runs)
    | st.builds(TaskRunRenamed, ids, texts)
    | st.builds(TaskRunMeasured, ids, metrics)
    | st.builds(TaskRunEntered, ids, states)
    | st.builds(LogEmitted, maybe(ids), maybe(ids), texts, st.integers(0, 60), texts, times)
)


def facts(record: Any) -> Any:
    """Return everything in a record as plain data: runs compare by identity, states leave out their data."""
    if isinstance(record, (TaskRun, FlowRun, StartInfo)):
        return [type(record), [(name, facts(getattr(record, name))) for name in type(record).__slots__]]
    if isinstance(record, State):
        return [State, *(facts(getattr(record, name)) for name in State.__slots__)]
    if isinstance(record, tuple) and hasattr(record, "_fields"):
        return [type(record), [facts(item) for item in record]]
    return record


# --- round trips ----------------------------------------------------------------------------------------


@given(policies | details | states | task_runs | flow_runs | events)
def test_every_record_comes_back_as_it_was(record: Any):
    assert facts(unpack(pack(record))) == facts(record)


@given(st.lists(events, max_size=5))
def test_a_batch_of_events_comes_back_in_order(batch: list[Any]):
    back = decode_events(unpackb(packb(encode_events(batch))))
    assert [facts(event) for event in back] == [facts(event) for event in batch]


@given(flow_runs)
def test_fields_that_a_later_release_appended_are_ignored(run: FlowRun):
    kind, fields = encode(run)
    assert facts(unpack(packb([VERSION, kind, [*fields, "a new field"]]))) == facts(run)


# --- what is compact, and what never travels --------------------------------------------------------------


def test_a_task_run_takes_about_as_many_bytes_as_it_has_information():
    run = TaskRun("module.get_stars", "17", "get_stars-17", "get_stars", new_id(), state=State(StateType.PENDING))
    run.task_inputs = {"repo": [{"input_type": "task_run", "id": str(new_id())}]}
    assert len(pack(run)) < 230
    assert run.task_inputs["repo"][0]["id"].encode() not in pack(run), "an id is 16 bytes, not text"


class _Handle:
    def get(self) -> object:
        raise AssertionError("packing must not ask for the value")

    def to_record(self) -> dict[str, Any]:
        return {"type": "reference", "storage_key": "gone", "serializer_type": "pickle"}


@pytest.mark.parametrize(
    ("data", "record"),
    [
        pytest.param("a value", {"type": "unpersisted"}, id="value"),
        pytest.param(ValueError("no"), {"type": "unpersisted"}, id="exception"),
        pytest.param(_Handle(), {"type": "reference", "storage_key": "gone", "serializer_type": "pickle"}, id="handle"),
        pytest.param(_Handle, {"type": "unpersisted"}, id="class-of-a-handle"),
    ],
)
def test_a_value_never_travels_only_its_record_does(data: object, record: dict[str, Any]):
    back = unpack(pack(State(StateType.COMPLETED, data=data)))
    assert back.data.to_record() == record
    with pytest.raises(MissingResult):
        back.result()


def test_an_aggregate_state_says_nothing_of_the_states_it_stands_for():
    inner = State(StateType.FAILED, message="SECRET")
    assert b"SECRET" not in pack(State(StateType.FAILED, data=[inner]))


def test_a_parameter_that_is_not_plain_data_travels_as_its_repr():
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    back = unpack(pack(FlowRun(new_id(), "run", parameters={"odd": Odd(), "keys": {(1, 2): 3}})))
    assert back.parameters == {"odd": "<odd>", "keys": {"(1, 2)": 3}}


def test_a_parameter_that_contains_itself_is_cut_off():
    endless: list[Any] = []
    endless.append(endless)
    assert isinstance(
        unpack(pack(FlowRun(new_id(), "run", parameters={"endless": endless}))).parameters["endless"], list
    )


def test_a_repr_that_raises_does_not_stop_a_record():
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    assert unpackb(packb(plain({"rude": Rude()}))) == {"rude": "<Rude, whose repr raised RuntimeError>"}


@pytest.mark.parametrize(
    "value",
    [
        2**200,
        -(2**70),
        date(2024, 2, 29),
        timedelta(microseconds=1),
        new_id(),
        datetime.now(UTC),
        b"raw",
        "lone \udc80",
    ],
    ids=["large", "small", "date", "duration", "id", "time", "bytes", "surrogate"],
)
def test_values_of_free_form_maps_keep_their_type(value: object):
    back = unpackb(packb(value))
    assert (type(back), back) == (type(value), value)


# --- times and ids --------------------------------------------------------------------------------------


def test_a_time_of_another_zone_is_the_same_moment_in_utc():
    tokyo = datetime(2024, 5, 1, 9, 0, tzinfo=timezone(timedelta(hours=9)))
    back = unpack(pack(State(StateType.RUNNING, timestamp=tokyo)))
    assert back.timestamp == tokyo
    assert back.timestamp.tzinfo is UTC


def test_a_time_without_zone_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"no time zone; use an aware datetime"):
        pack(State(StateType.RUNNING, timestamp=datetime(2024, 5, 1)))  # noqa: DTZ001


def test_ids_made_fast_are_like_ids_made_by_the_standard_library():
    state = State(StateType.RUNNING)
    back = unpack(pack(state)).id
    assert back == uuid.UUID(str(state.id))
    assert hash(back) == hash(state.id)
    assert back.is_safe is uuid.SafeUUID.unknown


# --- what cannot be read ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(msgpack.packb([VERSION + 1, 0, []]), "version 2", id="newer-version"),
        pytest.param(msgpack.packb([VERSION, 99, []]), "kind 99", id="newer-kind"),
        pytest.param(msgpack.packb("text"), "version 'text'", id="not-a-record"),
        pytest.param(msgpack.packb([msgpack.ExtType(77, b"")]), "extension 77", id="newer-extension"),
    ],
)
def test_an_unknown_format_is_named(data: bytes, message: str):
    with pytest.raises(UnknownWireFormat, match=message):
        unpack(data)


def test_something_else_than_a_record_is_refused():
    with pytest.raises(TypeError, match="a dict is not a record"):
        pack({"a": 1})  # pyright: ignore[reportArgumentType]  the point of the test
