"""What no database keeps, what no program sends, and clocks that go wrong: refused or absorbed, with a clear answer."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from flowyard.schemas.events import JournalEvent, LogEmitted, TaskRunCreated, TaskRunEntered
from flowyard.schemas.ids import new_id
from flowyard.schemas.reports import VERSION, Batch, Reporter
from flowyard.schemas.runs import FlowRun, utcnow
from flowyard.schemas.states import State, StateType
from flowyard.schemas.wire import encode_events
from flowyard.schemas.wire_values import packb
from flowyard.server.routes import MOST_LEVELS
from flowyard.testing.records import make_task_run
from flowyard.testing.servers import DEADLINE, RunningServer
from flowyard.upcalls.calls import open_answer
from flowyard.upcalls.values import pack_value

ME = Reporter(new_id(), "a-host", 4711, datetime(2026, 5, 4, tzinfo=UTC))
PENDING, RUNNING, COMPLETED = StateType.PENDING, StateType.RUNNING, StateType.COMPLETED
DAY = timedelta(days=1)
REPLACED = "\N{REPLACEMENT CHARACTER}"
JSON = {"content-type": "application/json"}


@pytest.fixture
def flow_id(api: httpx.Client) -> str:
    return api.post("/flows/", json={"name": "etl"}).json()["id"]


@pytest.fixture
def create(api: httpx.Client, flow_id: str) -> Callable[[str], httpx.Response]:
    """Create a flow run from the fields in a piece of JSON."""
    return lambda fields: api.post("/flow_runs/", content=f'{{"flow_id": "{flow_id}", {fields}}}', headers=JSON)


def listed(api: httpx.Client) -> list[dict[str, Any]]:
    answer = api.post("/flow_runs/filter", json={})
    assert answer.status_code == 200, answer.text
    return answer.json()


def nested(levels: int, *, kind: str) -> str:
    return "[" * levels + "]" * levels if kind == "lists" else '{"a":' * levels + "1" + "}" * levels


# --- bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lists", "objects"])
@pytest.mark.parametrize("levels", [MOST_LEVELS, 400, 100_000])
def test_a_body_that_is_nested_too_deeply_is_refused(
    api: httpx.Client, create: Callable[[str], httpx.Response], levels: int, kind: str
) -> None:
    answer = create(f'"parameters": {{"a": {nested(levels, kind=kind)}}}')
    assert answer.status_code == 422
    assert f"more than {MOST_LEVELS}" in answer.json()["detail"]
    assert listed(api) == []


@pytest.mark.parametrize("kind", ["lists", "objects"])
def test_what_is_nested_as_deeply_as_allowed_is_kept_and_listed(
    api: httpx.Client, create: Callable[[str], httpx.Response], kind: str
) -> None:
    deep = nested(MOST_LEVELS - 2, kind=kind)
    assert create(f'"parameters": {{"a": {deep}}}').status_code == 201
    assert [run["parameters"] for run in listed(api)] == [{"a": json.loads(deep)}]


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_body_of_100_mb_is_refused_before_it_is_read_whole(server: RunningServer, is_announced: bool) -> None:
    part = b"x" * 1_000_000
    sent = 0

    def body() -> Any:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield part

    headers = {"content-length": str(100 * len(part))} if is_announced else {}
    with httpx.Client(base_url=f"{server.address}/api", timeout=DEADLINE) as client:
        try:
            answer = client.post("/flow_runs/filter", content=body(), headers=headers)
        except httpx.TransportError:
            # The server hangs up on who goes on sending; what it said may be lost with that.
            assert sent < 100
        else:
            assert answer.status_code == 413
            assert "FLOWYARD_SERVER_API_MAX_BODY_BYTES" in answer.json()["detail"]
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"name": "\xff"}',
        b"nul",
        b'{"name": ' + b"9" * 5000 + b"}",
        b"[]",
        b"5",
    ],
    ids=["empty", "cut", "open", "bytes", "no-text", "word", "digits", "list", "number"],
)
def test_what_is_no_json_is_refused(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/flows/", content=body, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()


# --- values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kept"),
    [(r"a\u0000b", f"a{REPLACED}b"), (r"a\ud800b", f"a{REPLACED * 3}b")],
    ids=["nul", "surrogate"],
)
def test_what_no_database_keeps_of_a_text_is_replaced_wherever_it_is(
    api: httpx.Client, create: Callable[[str], httpx.Response], sent: str, kept: str
) -> None:
    made = create(
        f'"name": "{sent}", "tags": ["{sent}"], "parameters": {{"{sent}": ["{sent}"]}}, '
        f'"state": {{"type": "PENDING", "message": "{sent}"}}'
    )
    assert made.status_code == 201
    for run in (made.json(), *listed(api)):
        assert (run["name"], run["tags"], run["parameters"]) == (kept, [kept], {kept: [kept]})
        assert run["state"]["message"] == kept
    where = f'{{"flow_runs": {{"name": {{"any_": ["{sent}"]}}, "tags": {{"all_": ["{sent}"]}}}}}}'
    assert api.post("/flow_runs/count", content=where, headers=JSON).json() == 1
    refused = api.post("/flows/", content=f'{{"name": 5, "tags": ["{sent}"]}}', headers=JSON)
    assert refused.status_code == 422


def test_a_name_in_a_path_that_no_database_takes_is_not_there(api: httpx.Client) -> None:
    for path in ("/flows/name/a%00b", "/variables/name/%00", "/work_pools/%00", "/block_types/slug/%ED%A0%80"):
        assert api.get(path).status_code in (404, 422)


def test_what_is_no_number_becomes_null_in_values_and_is_refused_where_a_number_must_be(
    api: httpx.Client, create: Callable[[str], httpx.Response]
) -> None:
    assert create('"parameters": {"a": [NaN, Infinity, -Infinity, 1e999]}').status_code == 201
    assert [run["parameters"] for run in listed(api)] == [{"a": [None] * 4}]
    for number in ("NaN", "Infinity", "1e999"):
        limit = f'{{"name": "x", "limit": 1, "slot_decay_per_second": {number}}}'
        assert api.post("/v2/concurrency_limits/", content=limit, headers=JSON).status_code == 422
        assert create(f'"empirical_policy": {{"retry_delay": {number}}}').status_code == 422
        span = '"history_start": "2026-01-01T00:00:00Z", "history_end": "2026-01-02T00:00:00Z"'
        history = f'{{{span}, "history_interval_seconds": {number}}}'
        assert api.post("/flow_runs/history", content=history, headers=JSON).status_code == 422


@pytest.mark.parametrize("number", [2**31, 2**63, 2**64, 10**30, -(2**63) - 1])
def test_a_number_that_no_column_has_room_for_is_refused_and_kept_in_values(
    api: httpx.Client, create: Callable[[str], httpx.Response], number: int
) -> None:
    assert create(f'"parameters": {{"a": {number}}}').status_code == 201
    assert [run["parameters"] for run in listed(api)] == [{"a": number}]
    for path, body in (
        ("/v2/concurrency_limits/", {"name": "x", "limit": number}),
        ("/concurrency_limits/", {"tag": "x", "concurrency_limit": number}),
        ("/flow_runs/filter", {"limit": number}),
        ("/work_pools/", {"name": "x", "type": "process", "concurrency_limit": number}),
    ):
        assert api.post(path, json=body).status_code == 422, path
    answer = api.post("/flow_runs/filter", json={"offset": number})
    assert answer.status_code == (200 if number == 2**31 else 422)
    assert api.post("/logs/", json=[line(utcnow(), level=number)]).status_code == 201
    assert api.post("/logs/filter", json={}).json()[0]["level"] == (32767 if number > 0 else -32767)


def line(moment: datetime | str, *, level: int = 20) -> dict[str, Any]:
    text = moment if isinstance(moment, str) else moment.isoformat()
    return {"name": "n", "level": level, "message": "m", "timestamp": text, "flow_run_id": str(UUID(int=5))}


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+00:00", "1969-12-31T23:59:59.999999+00:00", "9999-12-31T23:59:59.999999+00:00"]
)
def test_the_first_and_the_last_times_there_are_can_be_kept_and_looked_for(
    api: httpx.Client, create: Callable[[str], httpx.Response], moment: str
) -> None:
    assert api.post("/logs/", json=[line(moment)]).status_code == 201
    assert [found["timestamp"] for found in api.post("/logs/filter", json={}).json()] == [moment]
    details = f'{{"scheduled_time": "{moment}"}}'
    assert create(f'"state": {{"type": "SCHEDULED", "state_details": {details}}}').status_code == 201
    assert [run["expected_start_time"] for run in listed(api)] == [moment]
    for where in ({"after_": moment}, {"before_": moment}):
        body = {"flow_runs": {"expected_start_time": where}}
        assert api.post("/flow_runs/count", json=body).json() == 1
        assert api.post("/logs/filter", json={"logs": {"timestamp": where}}).status_code == 200
    assert api.post("/flow_runs/lateness", json={}).status_code == 200


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_is_none_in_utc_is_refused(api: httpx.Client, moment: str) -> None:
    answer = api.post("/logs/", json=[line(moment)])
    assert answer.status_code == 422
    assert "after the year 9999" in answer.text
    assert api.post("/flow_runs/count", json={"flow_runs": {"start_time": {"after_": moment}}}).status_code == 422


def test_a_plain_value_in_the_place_of_a_result_is_kept(
    api: httpx.Client, create: Callable[[str], httpx.Response]
) -> None:
    for value in ('"x"', "5", "0.5", "true", "[1]"):
        made = create(f'"state": {{"type": "COMPLETED", "data": {value}}}').json()
        assert api.get(f"/flow_runs/{made['id']}").json()["state"]["data"] == json.loads(value)


def test_a_very_long_text_is_kept_or_refused_and_costs_the_others_nothing(api: httpx.Client, flow_id: str) -> None:
    # What cannot be compressed: an entry of PostgreSQL's indexes has 2,700 bytes.
    long = "".join(f"{number * 2654435761 % 2**32:08x}" for number in range(2500))
    for fields in ({"name": long}, {"tags": [long]}, {"idempotency_key": long}):
        state = {"type": "PENDING", "name": long}
        answer = api.post("/flow_runs/", json={"flow_id": flow_id, "state": state, **fields})
        assert answer.status_code in (201, 422), answer.text
    assert api.post("/flow_runs/", json={"flow_id": flow_id, "name": "short"}).status_code == 201


# --- what processes report ----------------------------------------------------------------------------------------


def ask(api: httpx.Client, method: str, *args: Any, **kwargs: Any) -> Any:
    answer = api.post(f"/control/runs/{method}", content=pack_value([VERSION, ME, [list(args), kwargs]]))
    assert answer.status_code == 200, answer.text
    return open_answer(answer.content)


def begin(api: httpx.Client, *, clock: timedelta = timedelta(0)) -> tuple[UUID, int]:
    """Begin a flow run in a process whose clock is wrong by so much."""
    run = FlowRun(flow_id=UUID(int=0), name="brave-otter", state=State(PENDING, timestamp=utcnow() + clock))
    _, token = ask(api, "begin_flow_run", "etl", run)
    ask(api, "propose_flow_run_state", run.id, State(RUNNING, timestamp=utcnow() + clock), token=token)
    return run.id, token


def send(api: httpx.Client, lease: tuple[UUID, int], number: int, events: list[JournalEvent]) -> httpx.Response:
    batch = Batch(*lease, number, packb(encode_events(events)))
    return api.post("/journal", content=pack_value([VERSION, ME, [batch]]))


@pytest.mark.parametrize(
    ("content", "encoding", "status"),
    [
        (lambda: zlib.compress(bytes(200_000_000), 1, 31), "gzip", 413),  # made in the test: it takes a second
        (lambda: zlib.compress(b"x" * 5000, 6, 31)[:-20], "gzip", 400),
        (lambda: zlib.compress(b"x" * 5000, 6, 15), "gzip", 400),
        (lambda: b"\xdd\xff\xff\xff\xff", None, 400),
        (lambda: b"\xdf\xff\xff\xff\xff", None, 400),
        (lambda: b"\xc6\xff\xff\xff\xff", None, 400),
        (lambda: b"\x91" * 100_000, None, 400),
        (lambda: b"\xc7\xff\xff", None, 400),
    ],
    ids=["bomb", "cut", "zlib", "array-that-is-not-there", "map", "bytes", "deep", "extension"],
)
def test_wrong_packed_bodies_are_refused(
    api: httpx.Client, content: Callable[[], bytes], encoding: str | None, status: int
) -> None:
    headers = {} if encoding is None else {"content-encoding": encoding}
    answer = api.post("/journal", content=content(), headers=headers)
    assert answer.status_code == status
    assert answer.json()["detail"]
    assert api.get("/ready").status_code == 200


def test_a_batch_with_strange_texts_numbers_and_times_is_kept(api: httpx.Client) -> None:
    lease = begin(api)
    run = make_task_run(lease[0])
    run.name = "a\0b"
    early, late = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    events: list[JournalEvent] = [
        TaskRunCreated(run),
        TaskRunEntered(run.id, State(PENDING, message="\0", timestamp=early)),
        TaskRunEntered(run.id, State(COMPLETED, timestamp=late)),
        LogEmitted(lease[0], run.id, "n", 10**6, "\0", early),
        LogEmitted(lease[0], run.id, "n", -(10**6), "m", late),
    ]
    assert send(api, lease, 1, events).json()["accepted"] == 1
    assert api.get(f"/task_runs/{run.id}").json()["name"] == f"a{REPLACED}b"
    assert [found["level"] for found in api.post("/logs/filter", json={}).json()] == [32767, -32767]


def test_batches_in_any_order_and_twice_are_written_once_and_in_order(api: httpx.Client) -> None:
    lease = begin(api)
    runs = [make_task_run(lease[0], number) for number in range(4)]
    batches: list[list[JournalEvent]] = [
        [TaskRunCreated(run), TaskRunEntered(run.id, State(PENDING)), TaskRunEntered(run.id, State(COMPLETED))]
        for run in runs
    ]
    answers = [send(api, lease, number, batches[number - 1]) for number in (2, 1, 1, 4, 2, 3, 1, 3, 4, 4)]
    assert [answer.status_code for answer in answers] == [409, 200, 200, 409, 200, 200, 200, 200, 200, 200]
    assert [answer.json()["accepted"] for answer in answers] == [0, 1, 0, 0, 1, 1, 0, 0, 1, 0]
    assert ask(api, "task_run_counts", lease[0]) == {("work", "Completed"): 4}
    for run in runs:
        found = api.get("/task_run_states/", params={"task_run_id": str(run.id)}).json()
        assert [state["name"] for state in found] == ["Pending", "Completed"]


def test_a_flow_run_that_is_begun_again_and_late_goes_on_as_before(api: httpx.Client) -> None:
    run = FlowRun(flow_id=UUID(int=0), name="brave-otter", state=State(PENDING))
    # What is begun without an answer goes on under the first token.
    tokens = [ask(api, "begin_flow_run", "etl", run)[1] for _ in range(2)]
    lease = run.id, 1
    assert send(api, lease, 1, [TaskRunCreated(make_task_run(run.id, 0))]).status_code == 200
    ask(api, "propose_flow_run_state", run.id, State(RUNNING), token=1)
    # A request that was thought lost.
    known, token = ask(api, "begin_flow_run", "etl", run)
    assert ([*tokens, token], known.state.name) == ([1, 1, 1], "Running")
    assert ask(api, "begin_again", "etl", run)[1] == 1
    assert send(api, lease, 2, [TaskRunCreated(make_task_run(run.id, 1))]).json()["accepted"] == 1


@pytest.mark.parametrize("clock", [DAY, -DAY], ids=["ahead", "behind"])
def test_states_keep_their_order_whatever_the_clock_of_a_client_says_and_the_server_says_so(
    api: httpx.Client, server: RunningServer, clock: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "flowyard.server"):
        lease = begin(api, clock=clock)
    [warned] = {record.getMessage() for record in caplog.records if "the clock of" in record.getMessage()}
    assert "a-host" in warned
    assert ("ahead of" if clock > timedelta(0) else "behind") in warned
    run = make_task_run(lease[0])
    entered = [TaskRunEntered(run.id, State(kind, timestamp=utcnow() + clock)) for kind in (PENDING, RUNNING)]
    assert send(api, lease, 1, [TaskRunCreated(run), *entered]).status_code == 200

    # By the server's own clock, and then by that of the next process.
    assert server.app.state.gateway.control.reap_dead_runs(utcnow() + timedelta(hours=1)) == [lease[0]]
    for noun, run_id in (("flow_run", lease[0]), ("task_run", run.id)):
        found = api.get(f"/{noun}_states/", params={f"{noun}_id": str(run_id)}).json()
        assert [state["name"] for state in found] == ["Pending", "Running", "Crashed"]
        now = api.get(f"/{noun}s/{run_id}").json()
        assert now["state_name"] == "Crashed"
        assert now["total_run_time"] >= 0
        assert api.get(f"/{noun}_states/{now['state_id']}").json()["name"] == "Crashed"


def test_a_clock_that_is_right_is_not_talked_about(api: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    begin(api)
    assert "the clock of" not in caplog.text
