"""The websockets: events in, events out, and task runs for those who serve tasks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

DEADLINE = 90.0
PREFECT = [Subprotocol("prefect")]


@pytest.fixture
def dial(api: httpx.Client) -> Callable[..., contextlib.AbstractContextManager[ClientConnection]]:
    """Open a websocket below `/api`."""

    @contextlib.contextmanager
    def dial(path: str, *, subprotocols: list[Subprotocol] | None = PREFECT) -> Generator[ClientConnection]:
        address = str(api.base_url).replace("http", "ws", 1).rstrip("/") + path
        with connect(address, subprotocols=subprotocols, open_timeout=DEADLINE) as socket:
            yield socket

    return dial


Dial = Callable[..., contextlib.AbstractContextManager[ClientConnection]]


def _say(socket: ClientConnection, **message: Any) -> None:
    socket.send(json.dumps(message))


def _hear(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(DEADLINE))


def _greet(socket: ClientConnection) -> None:
    _say(socket, type="auth", token=None)
    assert _hear(socket) == {"type": "auth_success"}


def _closed_with(socket: ClientConnection) -> int:
    try:
        while True:
            socket.recv(DEADLINE)
    except ConnectionClosed as closed:
        return -1 if closed.rcvd is None else closed.rcvd.code


def _event(name: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"id": str(uuid4()), "occurred": now, "event": name, "resource": {"prefect.resource.id": "thing.a"}}


def test_events_come_in_and_go_out_to_those_who_want_them(api: httpx.Client, dial: Dial) -> None:
    api.post("/events", json=[_event("a.old"), _event("b.old")])
    with dial("/events/out") as out, dial("/events/in", subprotocols=None) as entrance:
        _greet(out)
        _say(out, type="filter", filter={"event": {"prefix": ["a."]}}, backfill=True)
        assert _hear(out)["event"]["event"] == "a.old"
        for name in ("b.new", "a.first", "a.second"):
            _say(entrance, **_event(name))
        assert [_hear(out)["event"]["event"] for _ in range(2)] == ["a.first", "a.second"]
        api.post("/events", json=[_event("a.third")])
        heard = _hear(out)
        assert (heard["type"], heard["event"]["event"]) == ("event", "a.third")


def test_what_was_there_is_not_sent_unless_it_is_asked_for(api: httpx.Client, dial: Dial) -> None:
    api.post("/events", json=[_event("old")])
    with dial("/events/out") as out:
        _greet(out)
        _say(out, type="filter", filter={})
        # The subscription begins at its own time: events are sent until one arrives.
        names: set[str] = set()
        while not names:
            api.post("/events", json=[_event("new")])
            with contextlib.suppress(TimeoutError):
                names.add(json.loads(out.recv(0.5))["event"]["event"])
        assert names == {"new"}


def test_what_is_no_event_closes_the_socket_and_keeps_what_came_before(api: httpx.Client, dial: Dial) -> None:
    with dial("/events/in", subprotocols=None) as entrance:
        _say(entrance, **_event("fine"))
        entrance.send("nonsense")
        assert _closed_with(entrance) == 1007
    with dial("/events/out") as out:
        _greet(out)
        _say(out, type="filter", filter={}, backfill=True)
        assert _hear(out)["event"]["event"] == "fine"


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([{"type": "hello"}], 1008),
        ([{"type": "auth", "token": "x"}, {"type": "hello"}], 1002),
        ([{"type": "auth", "token": "x"}, {"type": "filter", "filter": {"nothing": 1}}], 1002),
    ],
    ids=["no-auth", "no-filter", "wrong-filter"],
)
def test_who_does_not_keep_to_the_protocol_is_told(dial: Dial, messages: list[dict[str, Any]], code: int) -> None:
    with dial("/events/out") as out:
        for message in messages:
            _say(out, **message)
        assert _closed_with(out) == code


def test_who_does_not_name_the_subprotocol_is_refused(dial: Dial) -> None:
    with dial("/events/out", subprotocols=None) as out:
        assert _closed_with(out) == 1002


def _schedule(api: httpx.Client, task_key: str) -> str:
    body = {
        "task_key": task_key,
        "dynamic_key": str(uuid4()),
        "name": "call",
        "state": {"type": "SCHEDULED", "name": "Scheduled"},
    }
    answer = api.post("/task_runs/", json=body)
    assert answer.status_code == 201
    return answer.json()["id"]


def test_scheduled_task_runs_are_handed_to_who_serves_their_task_each_once(api: httpx.Client, dial: Dial) -> None:
    first, other = _schedule(api, "mine"), _schedule(api, "not-mine")
    path = "/task_runs/subscriptions/scheduled"
    with dial(path) as worker, dial(path) as second_worker:
        _greet(worker)
        _say(worker, type="subscribe", keys=["mine"])
        assert _hear(worker)["id"] == first
        _say(worker, type="ack")
        _greet(second_worker)
        _say(second_worker, type="subscribe", keys=["mine", "not-mine"])
        assert _hear(second_worker)["id"] == other
        _say(second_worker, type="quit")
        assert _closed_with(second_worker) == 1000
        late = _schedule(api, "mine")
        assert _hear(worker)["id"] == late


def test_a_task_run_that_could_not_be_handed_over_goes_to_somebody_else(api: httpx.Client, dial: Dial) -> None:
    waiting = _schedule(api, "mine")
    path = "/task_runs/subscriptions/scheduled"
    for _ in range(2):
        with dial(path) as worker:
            _greet(worker)
            _say(worker, type="subscribe", keys=["mine"])
            assert _hear(worker)["id"] == waiting


def test_a_subscription_to_nothing_is_refused(dial: Dial) -> None:
    with dial("/task_runs/subscriptions/scheduled") as worker:
        _greet(worker)
        _say(worker, type="subscribe", keys=[])
        assert _closed_with(worker) == 4001


def _line(flow_run_id: str, message: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"name": "flow", "level": 20, "message": message, "timestamp": now, "flow_run_id": flow_run_id}


def test_a_stream_of_events_and_logs_goes_on_where_it_was_broken_off(api: httpx.Client, dial: Dial) -> None:
    run, other = str(uuid4()), str(uuid4())
    wanted = {"events": {"event": {"prefix": ["a."]}}, "logs": {"flow_run_id": {"any_": [run]}}}
    api.post("/logs/", json=[_line(run, "before")])
    with dial("/stream") as socket:
        _greet(socket)
        _say(socket, type="subscribe", **wanted)
        assert _hear(socket)["type"] == "caught_up"
        api.post("/logs/", json=[_line(run, "one"), _line(other, "not mine")])
        heard = _hear(socket)
        assert (heard["type"], heard["log"]["message"]) == ("log", "one")
        api.post("/events", json=[_event("a.first"), _event("b.first")])
        heard = _hear(socket)
        assert (heard["type"], heard["event"]["event"]) == ("event", "a.first")
    api.post("/events", json=[_event("a.missed")])
    api.post("/logs/", json=[_line(run, "missed")])
    with dial("/stream") as socket:
        _greet(socket)
        _say(socket, type="subscribe", cursor=heard["cursor"], **wanted)
        missed: list[str] = []
        while (message := _hear(socket))["type"] != "caught_up":
            missed.append(message["event"]["event"] if message["type"] == "event" else message["log"]["message"])
        # What was stored shortly before the cursor can come again; it has its id.
        assert {"a.missed", "missed"} <= set(missed) <= {"a.first", "a.missed", "before", "one", "missed"}


@pytest.mark.parametrize(
    "subscription",
    [{"logs": {}}, {"cursor": "yesterday"}, {"events": {"nothing": 1}}],
    ids=["no-run", "no-cursor", "no-filter"],
)
def test_a_stream_that_cannot_be_is_refused(dial: Dial, subscription: dict[str, Any]) -> None:
    with dial("/stream") as socket:
        _greet(socket)
        _say(socket, type="subscribe", **subscription)
        assert _closed_with(socket) == 1002
