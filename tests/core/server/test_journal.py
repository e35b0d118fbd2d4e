"""`POST /api/journal` and `POST /api/control/...`, as bytes on the wire."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from flowyard.local.backend import LocalBackend
from flowyard.ports import Lease
from flowyard.schemas.events import JournalEvent, TaskRunCreated, TaskRunEntered
from flowyard.schemas.filters import TaskRunFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.reports import VERSION, Batch, Reporter
from flowyard.schemas.runs import FlowRun, TaskRun, utcnow
from flowyard.schemas.states import State, StateType
from flowyard.schemas.wire import encode_events
from flowyard.schemas.wire_values import packb
from flowyard.server.gateway import Gateway
from flowyard.server.security.scopes import needed_scope
from flowyard.services.reaping import Reaping
from flowyard.store import leases
from flowyard.testing.records import make_task_run
from flowyard.upcalls.calls import open_answer
from flowyard.upcalls.values import pack_value

ME = Reporter(new_id(), "a-host", 4711, datetime(2026, 5, 4, tzinfo=UTC))
PENDING, COMPLETED = StateType.PENDING, StateType.COMPLETED


def life_of(run: TaskRun, *types: StateType) -> list[JournalEvent]:
    return [TaskRunCreated(run), *(TaskRunEntered(run.id, State(kind)) for kind in types)]


def batch(lease: Lease, number: int, events: list[JournalEvent]) -> Batch:
    return Batch(lease.flow_run_id, lease.token, number, packb(encode_events(events)))


def post(api: httpx.Client, *batches: Any, reporter: Reporter = ME, version: int = VERSION) -> httpx.Response:
    return api.post("/journal", content=pack_value([version, reporter, list(batches)]))


def ask(api: httpx.Client, method: str, *args: Any, noun: str = "runs", reporter: Reporter = ME, **kwargs: Any) -> Any:
    body = pack_value([VERSION, reporter, [list(args), kwargs]])
    answer = api.post(f"/control/{noun}/{method}", content=body)
    assert answer.status_code == 200, answer.text
    return open_answer(answer.content)


def begin(api: httpx.Client) -> Lease:
    run = FlowRun(flow_id=UUID(int=0), name="brave-otter", state=State(PENDING))
    _, token = ask(api, "begin_flow_run", "etl", run)
    ask(api, "propose_flow_run_state", run.id, State(StateType.RUNNING), token=token)
    return Lease(run.id, token)


def counts(api: httpx.Client, lease: Lease) -> Any:
    return ask(api, "task_run_counts", lease.flow_run_id)


@pytest.fixture
def api(shared_server: Any, behind: LocalBackend) -> Iterator[httpx.Client]:
    del behind
    yield from _client(shared_server)


@pytest.fixture
def plain_api(shared_server: Any) -> Iterator[httpx.Client]:
    """A client of a server with any database."""
    yield from _client(shared_server)


def _client(server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{server.address}/api", timeout=20.0) as client:
        yield client


def test_a_batch_is_written_once_however_often_it_comes(api: httpx.Client) -> None:
    lease = begin(api)
    sent = batch(lease, 1, life_of(make_task_run(lease.flow_run_id), PENDING, COMPLETED))
    assert post(api, sent).json() == {"accepted": 1, "repeated": 0, "refused": []}
    assert post(api, sent).json() == {"accepted": 0, "repeated": 1, "refused": []}
    assert counts(api, lease) == {("work", "Completed"): 1}


def test_a_batch_before_its_turn_is_refused_and_can_come_again(api: httpx.Client) -> None:
    lease = begin(api)
    first, second = (
        batch(lease, number, life_of(make_task_run(lease.flow_run_id, number), COMPLETED)) for number in (1, 2)
    )
    answer = post(api, second)
    assert answer.status_code == 409
    [refused] = answer.json()["refused"]
    assert (refused["index"], refused["flow_run_id"], refused["kind"]) == (0, str(lease.flow_run_id), "early")
    assert post(api, first, second).json()["accepted"] == 2
    assert counts(api, lease) == {("work", "Completed"): 2}


def test_a_stale_owner_is_refused_whole_and_takes_no_other_run_with_it(api: httpx.Client) -> None:
    lost, kept = begin(api), begin(api)
    other = Reporter(new_id(), "another-host", 1, utcnow())
    ask(api, "reap_dead_runs", reporter=other)  # nobody is dead
    task_run = make_task_run(lost.flow_run_id)
    assert post(api, batch(lost, 1, life_of(task_run, PENDING))).status_code == 200
    stale = Lease(lost.flow_run_id, lost.token - 1)
    answer = post(
        api,
        batch(stale, 2, life_of(task_run, COMPLETED)),
        batch(kept, 1, life_of(make_task_run(kept.flow_run_id), COMPLETED)),
    )
    assert answer.status_code == 409
    assert [(refused["index"], refused["kind"]) for refused in answer.json()["refused"]] == [(0, "refused")]
    assert answer.json()["accepted"] == 1
    assert counts(api, lost) == {("work", "Pending"): 1}
    assert counts(api, kept) == {("work", "Completed"): 1}


def test_an_owner_that_wakes_up_late_turns_nothing_back(
    api: httpx.Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = begin(api)
    task_run = make_task_run(lease.flow_run_id)
    post(api, batch(lease, 1, life_of(task_run, PENDING)))
    # A second replica on the same database, whose clock says that the lease has ended.
    url, home = settings.FLOWYARD_API_DATABASE_CONNECTION_URL, settings.FLOWYARD_HOME
    with LocalBackend.open(url, home) as replica:
        assert replica.control.reap_dead_runs(utcnow() + timedelta(seconds=20)) == []
        assert replica.control.reap_dead_runs(utcnow() + timedelta(minutes=1)) == [lease.flow_run_id]
        crashed = replica.control.read_flow_run(lease.flow_run_id)
    late = post(api, batch(lease, 2, [TaskRunEntered(task_run.id, State(COMPLETED))]))
    assert late.status_code == 409
    body = pack_value([VERSION, ME, [[lease.flow_run_id, State(COMPLETED)], {"token": lease.token}]])
    with pytest.raises(Exception, match="no longer owns"):
        open_answer(api.post("/control/runs/propose_flow_run_state", content=body).content)
    assert ask(api, "read_flow_run", lease.flow_run_id).state == crashed.state
    assert counts(api, lease) == {("work", "Crashed"): 1}


def test_a_final_state_whose_answer_got_lost_is_accepted_again_and_written_once(api: httpx.Client) -> None:
    lease = begin(api)
    final = State(COMPLETED)
    for _ in range(2):
        answer = ask(api, "propose_flow_run_state", lease.flow_run_id, final, token=lease.token)
        assert (answer.status.value, answer.state.id) == ("ACCEPT", final.id)
    states = api.get("/flow_run_states/", params={"flow_run_id": str(lease.flow_run_id)}).json()
    assert [state["name"] for state in states] == ["Pending", "Running", "Completed"]


def test_a_server_that_starts_gives_owners_time_to_renew_their_leases(api: httpx.Client, settings: Any) -> None:
    lease = begin(api)
    url, home = settings.FLOWYARD_API_DATABASE_CONNECTION_URL, settings.FLOWYARD_HOME
    with LocalBackend.open(url, home) as backend:
        ended = utcnow() - timedelta(hours=1)
        backend.journal.perform(lambda connection: leases.renew(connection, ME.id, ended))
        Gateway(backend, settings).give_time()
        assert backend.control.reap_dead_runs(utcnow()) == []
        backend.journal.perform(lambda connection: leases.renew(connection, ME.id, ended))
        ask(api, "renew_leases")
        assert backend.control.reap_dead_runs(utcnow()) == []
        backend.journal.perform(lambda connection: leases.renew(connection, ME.id, ended))
        assert backend.control.reap_dead_runs(utcnow()) == [lease.flow_run_id]


def test_tasks_outside_of_flows_are_written_under_the_lease_of_their_process(api: httpx.Client) -> None:
    run = make_task_run(None)
    sent = Batch(None, 1, 1, packb(encode_events(life_of(run, COMPLETED))))
    assert post(api, sent).json()["accepted"] == 1
    assert post(api, sent).json()["repeated"] == 1
    assert [found.id for found in ask(api, "read_task_runs", TaskRunFilter(ids=(run.id,)))] == [run.id]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"\xc1\xff", {}, 400),
        (b"{}", {"content-type": "application/json"}, 400),
        (pack_value([VERSION, "nobody", []]), {}, 400),
        (pack_value([VERSION + 1, ME, []]), {}, 400),
        (pack_value([VERSION, ME, [5]]), {}, 400),
        (pack_value([VERSION, ME, [Batch(None, 1, 1, b"\xc1")]]), {}, 400),
        (pack_value([VERSION, ME, [Batch(None, 1, 1, packb([[99]]))]]), {}, 400),
        (b"\x91" * 2000, {}, 400),
        (b"no gzip", {"content-encoding": "gzip"}, 400),
        (zlib.compress(bytes(1000), 1, 31)[:-9], {"content-encoding": "gzip"}, 400),
        (zlib.compress(bytes(70_000_000), 1, 31), {"content-encoding": "gzip"}, 413),
        (b"", {"content-encoding": "br"}, 415),
    ],
    ids=[
        *("empty", "msgpack", "json", "reporter", "version", "item", "events", "kind", "deep", "gzip", "cut", "bomb"),
        "encoding",
    ],
)
def test_a_wrong_body_is_refused_and_says_why(
    plain_api: httpx.Client, body: bytes, headers: dict[str, str], status: int
) -> None:
    for path in ("/journal", "/control/runs/forks"):
        answer = plain_api.post(path, content=body, headers=headers)
        if status == 400 and path != "/journal" and answer.status_code == 200:
            continue  # arguments that this call does not read
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"]


def test_what_cannot_be_stored_is_refused_without_a_word_about_the_server(api: httpx.Client) -> None:
    lease = begin(api)
    strange = make_task_run(lease.flow_run_id, 1, name=5)
    answer = post(api, batch(lease, 1, life_of(strange, PENDING)))
    assert answer.status_code == 422
    assert "cannot be stored" in answer.json()["detail"]
    assert post(api, batch(lease, 1, life_of(make_task_run(lease.flow_run_id), PENDING))).json()["accepted"] == 1


@pytest.mark.parametrize(
    "path", ["runs/__init__", "runs/close", "variables/_read", "journal/flush", "nothing/read", "runs/journal"]
)
def test_only_the_control_plane_can_be_called(plain_api: httpx.Client, path: str) -> None:
    answer = plain_api.post(f"/control/{path}", content=pack_value([VERSION, ME, [[], {}]]))
    with pytest.raises(PermissionError):
        open_answer(answer.content)


@pytest.mark.parametrize(
    ("call", "scope"),
    [
        ("runs/read_flow_runs", "read"),
        ("limits/names", "read"),
        ("runs/reap_dead_runs", "read"),
        ("blocks/read_document", "run"),
        ("runs/begin_flow_run", "run"),
        ("limits/acquire", "run"),
        ("variables/delete", "run"),
        ("runs/delete_flow_run", "admin"),
        ("blocks/delete_type", "admin"),
        ("limits/create", "admin"),
        ("limits/update", "admin"),
    ],
)
def test_a_call_needs_the_scope_that_its_method_needs(call: str, scope: str) -> None:
    assert needed_scope("POST", f"/api/control/{call}") == scope


def test_three_reapers_mark_the_run_of_a_dead_owner_once(api: httpx.Client, settings: Any) -> None:
    begun = [begin(api) for _ in range(3)]
    url, home = settings.FLOWYARD_API_DATABASE_CONNECTION_URL, settings.FLOWYARD_HOME
    later = utcnow() + timedelta(minutes=1)
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        replicas = [stack.enter_context(LocalBackend.open(url, home)) for _ in range(3)]
        ready = threading.Barrier(3)

        def reap(replica: LocalBackend) -> int:
            ready.wait(90)
            return Reaping(replica.control).run_once(later)

        assert sum(pool.map(reap, replicas)) == len(begun)
    for lease in begun:
        states = api.get("/flow_run_states/", params={"flow_run_id": str(lease.flow_run_id)}).json()
        assert [state["name"] for state in states] == ["Pending", "Running", "Crashed"]
