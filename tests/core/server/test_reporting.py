"""Flows that report to a server: what they leave there, and what happens when it goes away."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from flowyard import flow, task
from flowyard.artifacts import create_markdown_artifact
from flowyard.client import get_client
from flowyard.exceptions import BackendUnavailable, LeaseLost, RecordsNotDurable
from flowyard.local.backend import LocalBackend
from flowyard.logging import get_run_logger
from flowyard.process.backends import PROCESS, close_backends
from flowyard.remote import RemoteBackend
from flowyard.remote.spool import Spool, frames_of, summary_of
from flowyard.schemas.filters import ArtifactFilter, FlowRunFilter, LogFilter, TaskRunFilter
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import FlowRun, utcnow
from flowyard.schemas.states import State, StateType
from flowyard.settings import (
    FLOWYARD_API_URL,
    FLOWYARD_CLIENT_MAX_RETRIES,
    FLOWYARD_HOME,
    FLOWYARD_JOURNAL_GIVE_UP_SECONDS,
    FLOWYARD_LOGGING_LEVEL,
    Settings,
    temporary_settings,
)
from flowyard.store import leases
from flowyard.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner, SequentialTaskRunner
from flowyard.testing.cli import invoke_and_assert
from flowyard.testing.records import begin, make_line, make_task_run, record
from flowyard.variables import Variable

DEADLINE = 90.0
STARTING = 100.0  # a process that imports a web framework, on a machine that does other things too
PENDING, RUNNING, COMPLETED = StateType.PENDING, StateType.RUNNING, StateType.COMPLETED


@task
def increment(x: int) -> int:
    return x + 1


@flow
def child(count: int) -> int:
    return sum(future.result() for future in increment.map(list(range(count))))


def _answer() -> int:
    found: Any = Variable.get("answer")
    return found.value["is"]


def reporting_to(address: str, home: Path, **others: Any) -> Any:
    """Let flows report to a server in the block."""
    chosen = {FLOWYARD_HOME: home, FLOWYARD_API_URL: f"{address}/api", FLOWYARD_LOGGING_LEVEL: "INFO"}
    return temporary_settings({**chosen, **{_SETTINGS[name]: value for name, value in others.items()}})


_SETTINGS: dict[str, Any] = {"retries": FLOWYARD_CLIENT_MAX_RETRIES, "patience": FLOWYARD_JOURNAL_GIVE_UP_SECONDS}


@pytest.fixture
def closing() -> Iterator[None]:
    yield
    close_backends()


# --- what a flow leaves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "runner",
    [SequentialTaskRunner(), ConcurrentTaskRunner(), ProcessPoolTaskRunner(max_workers=1)],
    ids=["sequential", "concurrent", "process"],
)
def test_all_that_a_flow_does_is_on_the_server_when_it_ends(
    shared_server: Any, behind: LocalBackend, tmp_path: Path, runner: Any, closing: None
) -> None:
    attempts: list[int] = []

    @task(retries=1)
    def flaky() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("the first time")
        return len(attempts)

    @flow(task_runner=runner, persist_result=True, flow_run_name="{count} of them")
    def parent(count: int) -> int:
        get_run_logger().info("a line of the flow")
        create_markdown_artifact("# Sum", key="sum")
        Variable.set("answer", {"is": 42}, overwrite=True)
        mapped = [future.result() for future in increment.map(list(range(count)))]
        return flaky() + child(3) + sum(mapped) + _answer()

    with reporting_to(shared_server.address, tmp_path / "home"):
        state = parent(4, return_state=True)
        with get_client(sync_client=True) as client:
            assert state.state_details.flow_run_id is not None
            assert client.read_flow_run(state.state_details.flow_run_id).state == state
        assert state.result() == 2 + 6 + 10 + 42

    control = behind.control
    [run] = control.read_flow_runs(FlowRunFilter(flow_names=("parent",)))
    assert (run.name, run.state_type, run.run_count) == ("4 of them", COMPLETED, 1)
    assert run.state is not None
    assert run.state.data.to_record()["type"] == "reference"
    assert control.task_run_counts(run.id) == {
        ("increment", "Completed"): 4,
        ("flaky", "Completed"): 1,
        ("child", "Completed"): 1,
    }
    [again] = control.read_task_runs(TaskRunFilter(names=("flaky-0",)))
    assert [found.name for found in control.read_task_run_states(again.id)] == [
        *("Pending", "Running", "AwaitingRetry", "Retrying", "Completed"),
    ]
    lines = [line.message for line in control.read_logs(LogFilter(flow_run_id=run.id), limit=1000)]
    assert "a line of the flow" in lines
    assert lines[-1].startswith("Finished in state Completed")
    assert [found.key for found in control.artifacts.read_many(ArtifactFilter(flow_run_ids=(run.id,)))] == ["sum"]
    assert list((tmp_path / "home").glob("spool/*")) == []


def test_without_a_server_no_flow_begins_and_the_error_says_where_it_was_looked_for(
    tmp_path: Path, closing: None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with reporting_to(address, tmp_path, retries=0), pytest.raises(BackendUnavailable, match=f"{address}/api.*start"):
        child(1)


# --- a server that goes away --------------------------------------------------------------------------------------


class ServerProcess:
    """A server that can be killed and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLOWYARD_")},
            "FLOWYARD_HOME": str(folder),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "flowyard.cli", "server", "start", "--port", str(self.port)]
        self._process = subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTING
        while True:
            try:
                assert httpx.get(f"{self.address}/api/health", timeout=STARTING).status_code == 200
            except httpx.TransportError:
                assert self._process.poll() is None, "the server has ended"
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(DEADLINE)
            self._process = None


@pytest.fixture
def server_process(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "server")
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.mark.timeout(400)  # it starts two servers
def test_a_flow_goes_on_while_the_server_is_killed_and_started_again_and_nothing_is_missing(
    server_process: ServerProcess, tmp_path: Path, closing: None
) -> None:
    @task
    def kill_server() -> None:
        server_process.kill()

    @task
    def start_server() -> None:
        server_process.start()

    @flow(log_prints=True)
    def parent() -> int:
        print("before")
        child(5)
        kill_server()
        total = child(5)  # begins and ends while there is no server
        print("between")
        create_markdown_artifact("made alone", key="alone")
        start_server()
        print("after")
        return total + child(5)

    with reporting_to(server_process.address, tmp_path, patience=0.0):
        state = parent(return_state=True)
        assert state.result() == 30
        backend = PROCESS.backend()
        assert isinstance(backend, RemoteBackend)
        assert backend.journal.delivery.wait_until_caught_up(DEADLINE)
        control, flow_run_id = backend.control, state.state_details.flow_run_id
        assert flow_run_id is not None
        assert control.read_flow_run(flow_run_id).state_type is COMPLETED
        children = control.read_flow_runs(FlowRunFilter(flow_names=("child",)))
        assert [run.state_type for run in children] == [COMPLETED] * 3
        for run in children:
            assert [found.name for found in control.read_flow_run_states(run.id)] == ["Pending", "Running", "Completed"]
            assert control.task_run_counts(run.id) == {("increment", "Completed"): 5}
        lines = [line.message for line in control.read_logs(LogFilter(flow_run_id=flow_run_id), limit=1000)]
        assert [line for line in lines if line in ("before", "between", "after")] == ["before", "between", "after"]
        assert control.artifacts.count(ArtifactFilter(flow_run_ids=(flow_run_id,))) == 1
        close_backends()
    assert list(tmp_path.glob("spool/*")) == []


# --- what is kept -------------------------------------------------------------------------------------------------


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Callable[..., RemoteBackend]]:
    """Open backends that do not wait for a server."""
    opened: list[RemoteBackend] = []

    def act(address: str, home: Path = tmp_path) -> RemoteBackend:
        settings = {
            "FLOWYARD_HOME": str(home),
            "FLOWYARD_API_URL": f"{address}/api",
            "FLOWYARD_CLIENT_MAX_RETRIES": "0",
            "FLOWYARD_JOURNAL_GIVE_UP_SECONDS": "0",
        }
        opened.append(RemoteBackend.open(Settings.from_env(settings), keeps_leases=False))
        return opened[-1]

    yield act
    for backend in opened:
        backend.close()


class Gate:
    """Lets requests to a server through, or answers that it is not there, or what a proxy does."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.is_open = True
        self.answer: tuple[int, bytes, bytes] = (503, b"text/plain", b"")
        self.most = 10**9
        """Larger bodies get the answer, too: so many bytes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        is_small = int(dict(scope.get("headers", ())).get(b"content-length", 0)) <= self.most
        if (self.is_open and is_small) or scope["type"] != "http" or scope["path"] == "/api/health":
            await self._app(scope, receive, send)
            return
        status, kind, body = self.answer
        headers = [(b"retry-after", b"0"), (b"content-type", kind)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
def gate(shared_server: Any, behind: LocalBackend) -> Iterator[Gate]:
    del behind
    app = shared_server.app
    before = app.middleware_stack
    app.middleware_stack = gate = Gate(before)
    yield gate
    app.middleware_stack = before


def test_what_a_process_could_not_send_the_next_one_does(
    shared_server: Any, gate: Gate, report: Callable[[str], RemoteBackend], tmp_path: Path
) -> None:
    first = report(shared_server.address)
    run, lease = begin(first)
    gate.is_open = False
    recorder = first.journal.recorder(lease)
    for number in range(3):
        record(recorder, make_task_run(run.id, number))
        first.journal.flush()
    answer = first.control.propose_flow_run_state(run.id, State(COMPLETED), lease=lease)
    recorder.append(make_line(run.id, "the last line"))
    assert answer.state is not None
    assert answer.state.is_completed()
    first.close()
    assert len(list(tmp_path.glob("spool/*.spool"))) == 1

    gate.is_open = True
    second = report(shared_server.address)
    assert second.journal.delivery.wait_until_caught_up(DEADLINE)
    assert second.control.read_flow_run(run.id).state == answer.state
    assert second.control.task_run_counts(run.id) == {("work", "Completed"): 3}
    assert [line.message for line in second.control.read_logs(LogFilter(flow_run_id=run.id))] == ["the last line"]
    second.close()
    assert list(tmp_path.glob("spool/*")) == []


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"text/html", b"<html>Please log in.</html>"),
        (200, b"application/json", b'{"status": "ok"}'),
        (400, b"text/html; charset=utf-8", b"<html>Bad Request</html>"),
        (302, b"text/html", b""),
    ],
    ids=["a page", "JSON", "an error page", "a redirect"],
)
def test_what_a_proxy_answers_in_the_place_of_the_server_loses_nothing(
    shared_server: Any, gate: Gate, report: Callable[[str], RemoteBackend], answer: tuple[int, bytes, bytes]
) -> None:
    backend = report(shared_server.address)
    run, lease = begin(backend)
    gate.answer, gate.is_open = answer, False
    recorder = backend.journal.recorder(lease)
    for number in range(3):
        record(recorder, make_task_run(run.id, number))
        backend.journal.flush()
    assert backend.journal.delivery.is_behind
    gate.is_open = True
    assert backend.journal.delivery.wait_until_caught_up(DEADLINE)
    backend.control.propose_flow_run_state(run.id, State(COMPLETED), lease=lease)
    assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 3}


def test_records_get_through_a_proxy_that_lets_one_megabyte_through(
    shared_server: Any, gate: Gate, report: Callable[[str], RemoteBackend]
) -> None:
    backend = report(shared_server.address)
    run, lease = begin(backend)
    gate.most, gate.answer = 2**20, (413, b"text/html", b"<html>Request Entity Too Large</html>")
    recorder = backend.journal.recorder(lease)
    noise = random.Random(7)
    for _ in range(150):  # 6 MB that nothing makes smaller, as binary data in a log
        recorder.append(make_line(run.id, "".join(map(chr, noise.choices(range(0x4E00, 0x9F00), k=14_000)))))
    backend.journal.flush()
    backend.control.propose_flow_run_state(run.id, State(COMPLETED), lease=lease)
    assert len(backend.control.read_logs(LogFilter(flow_run_id=run.id))) == 150


def test_the_command_line_shows_what_is_kept_and_sends_it(
    shared_server: Any, gate: Gate, report: Callable[[str], RemoteBackend], tmp_path: Path
) -> None:
    backend = report(shared_server.address)
    run, lease = begin(backend)
    gate.is_open = False
    record(backend.journal.recorder(lease), make_task_run(run.id))
    backend.close()
    with temporary_settings({FLOWYARD_HOME: tmp_path, FLOWYARD_CLIENT_MAX_RETRIES: 0}):
        invoke_and_assert(["journal", "status"], expected_output_contains=["has ended", "1"])
        still = ["still kept", "503", "flowyard journal replay --url URL"]
        invoke_and_assert(["journal", "replay"], expected_code=1, expected_output_contains=still)
        gate.is_open = True
        invoke_and_assert(["journal", "replay"], expected_output_contains="Sent 1 request")
        invoke_and_assert(["journal", "status"], expected_output_contains="Nothing waits")
    assert report(shared_server.address).control.task_run_counts(run.id) == {("work", "Completed"): 1}


def test_records_for_a_server_that_has_moved_keep_no_others_back_and_can_be_sent_where_it_is(
    shared_server: Any, gate: Gate, report: Callable[[str], RemoteBackend], tmp_path: Path
) -> None:
    backend = report(shared_server.address)
    run, lease = begin(backend)
    gate.is_open = False
    record(backend.journal.recorder(lease), make_task_run(run.id))
    backend.close()
    gate.is_open = True
    [path] = (tmp_path / "spool").glob("*.spool")
    kept = summary_of(path)
    assert kept is not None
    with socket.socket() as gone, temporary_settings({FLOWYARD_HOME: tmp_path, FLOWYARD_CLIENT_MAX_RETRIES: 0}):
        gone.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{gone.getsockname()[1]}/api"
        moved = Spool(path.with_name("0.spool"), address, kept.reporter)
        for frame in frames_of(path):
            moved.append(frame)
        moved.close()
        invoke_and_assert(["journal", "replay"], expected_code=1, expected_output_contains=[address, "Sent 1 others"])
        assert [left.name for left in path.parent.glob("*.spool")] == ["0.spool"]
        invoke_and_assert(["journal", "replay", "--url", kept.url], expected_output_contains="Sent 1 requests")
    assert list(path.parent.glob("*.spool")) == []


def test_a_full_disk_while_the_server_is_away_stops_the_flow_and_loses_nothing_that_was_accepted(
    shared_server: Any, gate: Gate, report: Callable[[str], RemoteBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = report(shared_server.address)
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    gate.is_open = False
    write = os.write
    is_full = True

    def full(descriptor: int, data: Any) -> int:
        if is_full and len(data) > 16:
            write(descriptor, data[:5])
            raise OSError(28, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    record(recorder, make_task_run(run.id, 0))
    with pytest.raises(RecordsNotDurable, match="No space left.*start the server"):
        backend.journal.flush()
    is_full = False
    gate.is_open = True
    assert _comes_true(lambda: _is_writable(backend))
    record(recorder, make_task_run(run.id, 1))
    assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 2}


def test_a_spool_on_a_disk_that_is_full_keeps_what_it_has_and_takes_more_when_there_is_room(
    mount_disk: Callable[[int], Path], shared_server: Any, gate: Gate, report: Callable[..., RemoteBackend]
) -> None:
    disk = mount_disk(400)
    backend = report(shared_server.address, disk)
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(200_000))
    gate.is_open = False
    recorded = 0
    while _is_writable(backend) and recorded < 1000:
        recorder.append(make_line(run.id, os.urandom(5_000).hex()))  # which cannot be compressed
        recorded += 1
    assert recorded > 5
    with pytest.raises(RecordsNotDurable, match=r"No space left.*start the server"):
        recorder.append(make_line(run.id, "refused"))

    ballast.unlink()
    assert _comes_true(lambda: _is_writable(backend))
    record(recorder, make_task_run(run.id, 1))
    backend.journal.flush()
    gate.is_open = True
    assert backend.journal.delivery.wait_until_caught_up(DEADLINE)
    lines = backend.control.read_logs(LogFilter(flow_run_id=run.id), limit=2000)
    assert len(lines) == recorded
    assert "refused" not in {line.message for line in lines}
    assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 1}


def test_the_owner_that_lost_its_run_is_told_also_when_its_records_were_kept(
    shared_server: Any, behind: LocalBackend, gate: Gate, report: Callable[[str], RemoteBackend]
) -> None:
    backend = report(shared_server.address)
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    gate.is_open = False
    record(recorder, make_task_run(run.id))
    backend.journal.flush()
    behind.journal.perform(lambda connection: leases.revoke(connection, run.id))
    gate.is_open = True
    assert backend.journal.delivery.wait_until_caught_up(DEADLINE)
    with pytest.raises(LeaseLost, match=str(run.id)):
        backend.journal.flush()
    with pytest.raises(LeaseLost):
        record(recorder, make_task_run(run.id, 1))
    assert behind.control.task_run_counts(run.id) == {}


def test_a_run_that_may_be_somebody_elses_is_not_begun_without_the_server(
    shared_server: Any, gate: Gate, report: Callable[[str], RemoteBackend]
) -> None:
    backend = report(shared_server.address)
    run, lease = begin(backend)
    backend.control.propose_flow_run_state(run.id, State(StateType.FAILED), lease=lease)
    stored = backend.control.read_flow_run(run.id)
    gate.is_open = False
    with pytest.raises(BackendUnavailable):
        backend.control.begin_flow_run("flow", stored)


def test_the_rules_hold_while_the_server_is_away(
    shared_server: Any, gate: Gate, report: Callable[[str], RemoteBackend]
) -> None:
    backend = report(shared_server.address)
    backend.control.read_flows()
    gate.is_open = False
    run = FlowRun(flow_id=UUID(int=0), name="x", state=State(PENDING), policy=RetryPolicy(1))
    lease = backend.control.begin_flow_run("alone", run)
    types: list[StateType] = []
    for proposed in (RUNNING, StateType.FAILED, RUNNING, StateType.FAILED):
        answer = backend.control.propose_flow_run_state(run.id, State(proposed), lease=lease)
        assert answer.state is not None
        types.append(answer.state.type)
    assert types == [RUNNING, StateType.SCHEDULED, RUNNING, StateType.FAILED]
    gate.is_open = True
    assert backend.journal.delivery.wait_until_caught_up(DEADLINE)
    assert [state.type for state in backend.control.read_flow_run_states(run.id)] == [PENDING, *types]
    assert backend.control.read_flow(backend.control.read_flow_run(run.id).flow_id).name == "alone"


def test_the_keeper_renews_leases_over_http(shared_server: Any, behind: LocalBackend, tmp_path: Path) -> None:
    settings = Settings.from_env({"FLOWYARD_HOME": str(tmp_path), "FLOWYARD_API_URL": f"{shared_server.address}/api"})
    with RemoteBackend.open(settings) as backend:
        run, _ = begin(backend)
        held = behind.journal.perform(lambda connection: leases.find(connection, run.id))
        assert held is not None
        behind.journal.perform(lambda connection: leases.renew(connection, held.owner.id, utcnow()))

        def is_renewed() -> bool:
            now = behind.journal.perform(lambda connection: leases.find(connection, run.id))
            return now is not None and now.expires is not None and now.expires > utcnow()

        assert _comes_true(is_renewed)


def _is_writable(backend: RemoteBackend) -> bool:
    try:
        backend.journal.flush()
    except RecordsNotDurable:
        return False
    return True


def _comes_true(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
