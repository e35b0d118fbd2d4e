"""Clients of servers who wait for slots of concurrency limits are woken over a websocket, whoever gives them back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from flowyard import flow, task
from flowyard.journal import slot_waiters
from flowyard.local.backend import LocalBackend
from flowyard.process.backends import close_backends
from flowyard.remote import RemoteBackend
from flowyard.remote.slot_calls import SlotCalls
from flowyard.schemas.ids import new_id
from flowyard.schemas.limits import ConcurrencyLimit, SlotRequest
from flowyard.settings import FLOWYARD_API_URL, FLOWYARD_HOME, Settings, temporary_settings
from flowyard.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner, SequentialTaskRunner
from flowyard.testing.cli import invoke_and_assert
from flowyard.testing.servers import DEADLINE, RunningServer

Join = Callable[[RunningServer], RemoteBackend]


@pytest.fixture
def replicas(settings: Settings, serve: Callable[[Settings], RunningServer]) -> list[RunningServer]:
    """Two servers on one database."""
    return [serve(settings), serve(settings)]


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Join]:
    """Report to a server as a process of its own does."""
    joined: list[RemoteBackend] = []

    def act(server: RunningServer) -> RemoteBackend:
        settings = Settings.from_env({"FLOWYARD_HOME": str(tmp_path), "FLOWYARD_API_URL": f"{server.address}/api"})
        joined.append(RemoteBackend.open(settings, keeps_leases=False))
        return joined[-1]

    yield act
    for backend in joined:
        backend.close()


@pytest.fixture
def looks_never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave wakes alone: no server looks at the ledger by itself."""
    monkeypatch.setattr(slot_waiters, "_LOOK_SECONDS", 3600.0)


@pytest.fixture
def closing() -> Iterator[None]:
    yield
    close_backends()


@task
def increment(number: int) -> int:
    return number + 1


def _request(name: str = "db") -> SlotRequest:
    return SlotRequest(names=(name,), slots=1)


@pytest.mark.usefixtures("looks_never")
def test_a_client_is_woken_by_one_of_another_replica(replicas: list[RunningServer], join: Join) -> None:
    first, second = (join(server).control.limits for server in replicas)
    first.create(ConcurrencyLimit(name="db", limit=1))
    holder = _request()
    assert first.acquire(holder).is_granted
    waiting = [(_request(), threading.Event()) for _ in range(3)]
    for request, freed in waiting:
        denied = second.acquire(request, when_freed=freed.set)
        assert (denied.is_granted, denied.is_called) == (False, True)
    for request, freed in waiting:
        first.release([holder.lease_id])
        assert freed.wait(DEADLINE)
        assert second.acquire(request).is_granted
        holder = request


@pytest.mark.usefixtures("looks_never")
def test_slots_that_a_prefect_client_gives_back_wake_ours(
    server: RunningServer, api: httpx.Client, behind: LocalBackend, join: Join
) -> None:
    api.post("/v2/concurrency_limits/", json={"name": "db", "limit": 1})
    assert api.post("/v2/concurrency_limits/increment", json={"names": ["db"], "slots": 1}).status_code == 200
    limits, waiter, freed = join(server).control.limits, _request(), threading.Event()
    assert not limits.acquire(waiter, when_freed=freed.set).is_granted
    api.post("/v2/concurrency_limits/decrement", json={"names": ["db"], "slots": 1})
    assert freed.wait(DEADLINE)
    assert limits.acquire(waiter).is_granted
    assert behind.control.limits.read("db").active_slots == 1


def test_who_waits_asks_now_and_then_while_there_is_no_websocket(
    server: RunningServer, join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: SlotCalls) -> None:
        raise ConnectionRefusedError("a proxy lets none through")

    monkeypatch.setattr(SlotCalls, "_connected", refuse)
    limits, holder, waiter, woken = join(server).control.limits, _request(), _request(), threading.Event()
    limits.create(ConcurrencyLimit(name="db", limit=1))
    assert limits.acquire(holder).is_granted
    assert not limits.acquire(waiter, when_freed=woken.set).is_granted
    limits.release([holder.lease_id])
    assert woken.wait(DEADLINE)
    assert limits.acquire(waiter).is_granted


def test_a_client_that_goes_leaves_nobody_behind(server: RunningServer, behind: LocalBackend, join: Join) -> None:
    client = join(server)
    waiter, holder, called = _request(), _request(), threading.Event()
    client.control.limits.create(ConcurrencyLimit(name="db", limit=1))
    assert client.control.limits.acquire(holder).is_granted
    assert not client.control.limits.acquire(waiter, when_freed=called.set).is_granted
    waiters = behind.journal.slot_waiters
    pause = threading.Event()
    while not waiters.has_place(waiter.lease_id):
        pause.wait(0.01)
    client.close()
    while waiters.has_place(waiter.lease_id):
        pause.wait(0.01)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "hello"},
        {"type": "wait", "lease_ids": ["no id"]},
        [],
        {"type": "wait", "lease_ids": [new_id().hex] * 10_001},
    ],
    ids=["another-type", "no-id", "no-object", "too-many"],
)
def test_a_message_that_means_nothing_closes_the_socket(server: RunningServer, message: object) -> None:
    address = f"{server.address.replace('http', 'ws', 1)}/api/limits/calls"
    with connect(address, subprotocols=[Subprotocol("prefect")]) as socket:
        socket.send(json.dumps({"type": "auth", "token": ""}))
        assert json.loads(socket.recv(DEADLINE)) == {"type": "auth_success"}
        socket.send(json.dumps(message))
        with pytest.raises(ConnectionClosed) as refused:
            socket.recv(DEADLINE)
        assert refused.value.rcvd is not None
        assert refused.value.rcvd.code in (1002, 1008)


@pytest.mark.usefixtures("closing")
@pytest.mark.parametrize(
    "runner",
    [SequentialTaskRunner(), ConcurrentTaskRunner(), ProcessPoolTaskRunner(max_workers=2)],
    ids=["sequential", "concurrent", "process"],
)
def test_a_chain_under_one_tag_with_one_slot_of_the_server_ends(
    server: RunningServer, behind: LocalBackend, tmp_path: Path, runner: Any
) -> None:
    behind.control.limits.create(ConcurrencyLimit(name="tag:one-at-a-time", limit=1))

    @flow(task_runner=runner)
    def chains() -> list[int]:
        one_at_a_time = increment.with_options(tags=["one-at-a-time"])
        ends: list[Any] = [0, 0]
        for number in (0, 1):
            for _ in range(3):
                ends[number] = one_at_a_time.submit(ends[number])
        return [end.result() for end in ends]

    with temporary_settings({FLOWYARD_HOME: tmp_path / "home", FLOWYARD_API_URL: f"{server.address}/api"}):
        assert chains() == [3, 3]
    assert behind.control.limits.read("tag:one-at-a-time").active_slots == 0


@pytest.mark.usefixtures("closing")
def test_a_task_run_that_waits_for_a_slot_is_seen_waiting(
    server: RunningServer, api: httpx.Client, behind: LocalBackend, tmp_path: Path
) -> None:
    behind.control.limits.create(ConcurrencyLimit(name="tag:busy", limit=1))
    holder = SlotRequest(names=("tag:busy",), slots=1)
    assert behind.control.limits.acquire(holder).is_granted
    shown: list[str] = []

    @flow(task_runner=ConcurrentTaskRunner())
    def waits() -> int:
        future = increment.with_options(tags=["busy"]).submit(1)
        waiting: list[Any] = []
        while not waiting:
            body = {"task_runs": {"state": {"name": {"any_": ["AwaitingSlot"]}}}}
            waiting = api.post("/task_runs/filter", json=body).json()
        shown.append(waiting[0]["state"]["message"])
        done = invoke_and_assert(["task-run", "inspect", waiting[0]["id"]])
        shown.append(" ".join(done.stdout.split()))
        behind.control.limits.release([holder.lease_id])
        return future.result()

    with temporary_settings({FLOWYARD_HOME: tmp_path / "home", FLOWYARD_API_URL: f"{server.address}/api"}):
        assert waits() == 2
    assert shown[0] == "Waiting for a slot of the limit of tag 'busy'; 0 before this one."
    assert "AwaitingSlot" in shown[1]
