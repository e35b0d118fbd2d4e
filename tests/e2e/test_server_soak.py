"""Servers and databases that are killed under load, at random moments: what was acknowledged is there, and once.

    uv run --group dev pytest -m slow tests/e2e/test_server_soak.py     5 trials on each database
    FLOWYARD_CHAOS_SEED=17 FLOWYARD_CHAOS_TRIALS=1 uv run ...           one trial again

A trial has two flows that report, and three clients that create flow runs over the REST API and take each through its
states, asking again when no answer came. Meanwhile the server is killed (SIGKILL), or PostgreSQL is shut down at once,
and started again a moment later; which, when and how often, the seed decides. Nobody helps the clients.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from flowyard.remote.refused import refused_summary

FIRST_SEED = int(os.environ.get("FLOWYARD_CHAOS_SEED", "1"))
TRIALS = int(os.environ.get("FLOWYARD_CHAOS_TRIALS", "5"))
WORKLOADS = Path(__file__).parent / "workloads"
SECONDS = 120.0
"""How long a start, an answer or the end of a flow is waited for, on a machine that does other things too."""
CLIENTS = 3
FLOWS = 2


class Server:
    """`flowyard server start` on a database, at one address however often it is killed."""

    def __init__(self, folder: Path, database_url: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.api = f"http://127.0.0.1:{self.port}/api"
        self._log = (folder / "server.log").open("ab")
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLOWYARD_")},
            "FLOWYARD_HOME": str(folder / "server"),
            "FLOWYARD_API_DATABASE_CONNECTION_URL": database_url,
            "PYTHONFAULTHANDLER": "1",
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "flowyard.cli", "server", "start", "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=self._environment, stdout=self._log, stderr=self._log)
        deadline = time.monotonic() + SECONDS
        with client_of(self.api) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if client.get("/ready").status_code == 200:
                        return
                assert self.process.poll() is None, f"the server has ended:\n{self.said()}"
                if time.monotonic() > deadline:
                    self.end(signal.SIGABRT)
                    raise AssertionError(f"the server does not answer; this is where it was:\n{self.said()}")
                time.sleep(0.05)

    def said(self) -> str:
        """Return what it has logged, and, where it was aborted, what its threads did."""
        return Path(self._log.name).read_text(errors="replace")[-20_000:]

    def end(self, how: signal.Signals) -> int:
        """Send it a signal and return what it ended with."""
        assert self.process is not None
        self.process.send_signal(how)
        code = self.process.wait(SECONDS)
        self.process = None
        return code

    def close(self) -> None:
        """Kill it if it still runs."""
        if self.process is not None:
            self.end(signal.SIGKILL)
        self._log.close()


def client_of(api: str) -> httpx.Client:
    """Return a client; without certificates, which take 70 ms to load and which nobody shows here."""
    return httpx.Client(base_url=api, timeout=SECONDS, verify=False)


class Client(threading.Thread):
    """Takes flow runs through their states over the REST API until it is stopped; notes what the server has said."""

    def __init__(self, api: str, flow_id: str, stopping: threading.Event) -> None:
        super().__init__(daemon=True)
        self._client = client_of(api)
        self._flow_id = flow_id
        self._stopping = stopping
        self.acknowledged: dict[str, list[str]] = {}
        """By flow run, the states that were accepted."""
        self.again = 0
        """How often an answer did not come, or said to come again."""
        self.problems: list[str] = []

    def run(self) -> None:
        """Work; whatever is raised is a problem."""
        try:
            with self._client:
                while not self._stopping.is_set():
                    self._live()
        except Exception as error:
            self.problems.append(repr(error))

    def _live(self) -> None:
        key = str(uuid4())
        pending = {"type": "PENDING"}
        run_id = self._said("/flow_runs/", flow_id=self._flow_id, idempotency_key=key, state=pending)["id"]
        self.acknowledged[run_id] = ["Pending"]
        for kind, name in (("RUNNING", "Running"), ("COMPLETED", "Completed")):
            state = {"type": kind, "state_details": {"transition_id": str(uuid4())}}
            answer = self._said(f"/flow_runs/{run_id}/set_state", state=state)
            now = answer["state"] and answer["state"]["name"]
            if answer["status"] != "ACCEPT" and now != name:
                self.problems.append(f"{run_id}: {name} was answered with {answer}")
            self.acknowledged[run_id].append(name)

    def _said(self, path: str, **body: Any) -> Any:
        deadline = time.monotonic() + SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = self._client.post(path, json=body)
                if answer.status_code not in (500, 502, 503):
                    assert answer.is_success, (path, answer.status_code, answer.text)
                    return answer.json()
                if answer.status_code == 500:
                    self.problems.append(f"500 for {path}: {answer.text}")
            self.again += 1
            assert time.monotonic() < deadline, f"no answer to {path}"
            time.sleep(0.05)


class Trial:
    """One seed on one database.

    Args:
        seed: decides who is killed, when, and for how long.
        folder: an empty one.
        database_url: where the server keeps everything.
        database: can `crash` and `start`; None when it is a file.
    """

    def __init__(self, seed: int, folder: Path, database_url: str, database: Any) -> None:
        dice = random.Random(seed)
        self._folder = folder
        self._database = database
        self.server = Server(folder, database_url)
        self._client = client_of(self.server.api)
        self._stopping = threading.Event()
        self._flows: list[subprocess.Popen[str]] = []
        victims = ["server"] if database is None else ["server", "postgresql"]
        self.kills = [
            (dice.choice(victims), dice.uniform(0.2, 2.5), dice.uniform(0.0, 1.0)) for _ in range(dice.randint(1, 3))
        ]
        said = ", ".join(f"{after:.2f} s later {who} for {pause:.2f} s" for who, after, pause in self.kills)
        self.plan = f"seed {seed}: {said}"

    def verdict(self) -> str:
        """Work, kill, look; return what was seen. Raises AssertionError."""
        self.server.start()
        stopping = self._stopping
        flow_id = self._post("/flows/", name="soak")["id"]
        clients = [Client(self.server.api, flow_id, stopping) for _ in range(CLIENTS)]
        flows = self._flows = [self._start_flow(number) for number in range(FLOWS)]
        for client in clients:
            client.start()
        for flow in flows:  # which none does without a server
            assert flow.stdout is not None
            assert flow.stdout.readline() == "begun\n", (self.plan, flow.communicate(timeout=SECONDS)[1])
        for victim, after, pause in self.kills:
            time.sleep(after)
            self._kill(victim, pause)
        outputs = [self._end_of(flow) for flow in flows]
        replayed = [self._replay(number) for number in range(FLOWS)]
        stopping.set()
        for client in clients:
            client.join(2 * SECONDS)
            assert not client.is_alive(), self.plan
            assert client.problems == [], (self.plan, client.problems)
        tasks = sum(self._check_flow(output) for output in outputs)
        acknowledged = {run: states for client in clients for run, states in client.acknowledged.items()}
        writes = sum(self._check_run(*each) for each in acknowledged.items())
        kept = {path.name: refused_summary(path) for path in self._folder.glob("flow-*/spool/*")}
        assert kept == {}, self.plan
        again = sum(client.again for client in clients)
        return (
            f"{self.plan}: {len(self.kills)} kills, {writes} writes acknowledged, {again} requests sent again, "
            f"{tasks} task runs reported ({sum(replayed)} of {FLOWS} flows ended without a server), 0 lost, 0 twice"
        )

    def close(self) -> None:
        """End what still runs."""
        self._stopping.set()
        for flow in self._flows:
            flow.kill()
            flow.communicate()
        self._client.close()
        self.server.close()

    def _start_flow(self, number: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(WORKLOADS / "reporting.py")],
            env=self._environment(number),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _kill(self, victim: str, pause: float) -> None:
        if victim == "server":
            self.server.end(signal.SIGKILL)
            time.sleep(pause)
            self.server.start()
        else:
            self._database.crash()
            time.sleep(pause)
            self._database.start()

    def _replay(self, number: int) -> bool:
        """Send what a flow kept that ended while there was no server, as the next flow would; say whether there was."""
        if not list(self._folder.glob(f"flow-{number}/spool/*")):
            return False
        command = [sys.executable, "-m", "flowyard.cli", "journal", "replay"]
        done = subprocess.run(command, env=self._environment(number), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (self.plan, done.stdout, done.stderr)
        return True

    def _environment(self, number: int) -> dict[str, str]:
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("FLOWYARD_")},
            "FLOWYARD_HOME": str(self._folder / f"flow-{number}"),
            "FLOWYARD_API_URL": self.server.api,
        }

    def _end_of(self, flow: subprocess.Popen[str]) -> str:
        out, errors = flow.communicate(timeout=SECONDS)
        assert flow.returncode == 0, f"{self.plan}: {errors}"
        return out.splitlines()[-1]

    def _check_flow(self, output: str) -> int:
        """Look at what a flow has reported; return how many task runs that is."""
        run_id, name = output.split()
        assert name == "Completed", self.plan
        reported = 0
        waiting = [run_id]
        while waiting:
            run = self._get(f"/flow_runs/{waiting[0]}")
            assert (run["state_name"], run["run_count"]) == ("Completed", 1), (self.plan, run)
            self._check_run(waiting.pop(0), ["Pending", "Running", "Completed"])
            parent = {"flow_runs": {"id": {"any_": [run["id"]]}}}
            task_runs = self._post("/task_runs/filter", **parent)
            numbers = sorted(task_run["dynamic_key"] for task_run in task_runs if task_run["task_key"].endswith("work"))
            assert len(set(numbers)) == len(numbers), (self.plan, numbers)
            for task_run in task_runs:
                states = [each["name"] for each in self._get(f"/task_run_states/?task_run_id={task_run['id']}")]
                kept = self._states_of(task_run["name"])
                assert states in kept, (self.plan, task_run["name"], states)
            reported += len(task_runs)
            if run_id == run["id"]:
                assert len(task_runs) == LINES + 1, (self.plan, [each["name"] for each in task_runs])
                lines = [
                    each["message"] for each in self._post("/logs/filter", logs={"flow_run_id": {"any_": [run_id]}})
                ]
                own = [line for line in lines if line.startswith("line ")]
                assert own == [f"line {number}" for number in range(LINES)], (self.plan, own)
                waiting += [each["state"]["state_details"]["child_flow_run_id"] for each in task_runs[:LINES]]
                waiting = [each for each in waiting if each]
                children = self._post("/flow_runs/filter", flow_runs={"parent_flow_run_id": {"any_": [run_id]}})
                waiting = [each["id"] for each in children]
                assert len(waiting) == LINES, self.plan
            else:
                assert len(task_runs) == TASKS // LINES, self.plan
        return reported

    @staticmethod
    def _states_of(name: str) -> list[list[str]]:
        if name.startswith("fickle"):
            retried = ["Pending", "Running", "AwaitingRetry", "Retrying", "Completed"]
            return [retried, [each.replace("AwaitingRetry", "Awaiting Retry") for each in retried]]
        return [["Pending", "Running", "Completed"], ["Running", "Completed"], ["Completed"]]

    def _check_run(self, run_id: str, acknowledged: list[str]) -> int:
        states = [each["name"] for each in self._get(f"/flow_run_states/?flow_run_id={UUID(run_id)}")]
        # The last transition may have been made although nobody heard of it.
        assert states[: len(acknowledged)] == acknowledged, (self.plan, run_id, states, acknowledged)
        assert len(set(states)) == len(states), (self.plan, run_id, states)
        return len(acknowledged)

    def _get(self, path: str) -> Any:
        return self._client.get(path).raise_for_status().json()

    def _post(self, path: str, **body: Any) -> Any:
        return self._client.post(path, json=body).raise_for_status().json()


TASKS, LINES = (
    int(found[1])
    for found in (
        re.search(rf"^{name} = (\d+)$", (WORKLOADS / "reporting.py").read_text(), re.M) for name in ("TASKS", "LINES")
    )
    if found
)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A PostgreSQL of this trial's own, for it crashes; None for SQLite."""
    if request.param == "sqlite":
        yield None
        return
    shared = request.getfixturevalue("postgres_server")
    own = type(shared)(Path(shared.binaries))
    yield own
    own.stop()


@pytest.fixture
def database_url(database: Any, tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'server.db'}" if database is None else database.url(database.make_database())


@pytest.fixture
def trial(
    request: pytest.FixtureRequest, database: Any, database_url: str, tmp_path: Path
) -> Iterator[Callable[[int], Trial]]:
    made: list[Trial] = []

    def make(seed: int) -> Trial:
        made.append(Trial(seed, tmp_path, database_url, database))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + TRIALS))
@pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
def test_what_was_acknowledged_is_there_and_once_whatever_is_killed(
    trial: Callable[[int], Trial], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = trial(seed).verdict()
    with capsys.disabled():
        print(f"\n{verdict}", end=" ")


# --- told to end ---------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, f"sqlite:///{tmp_path / 'server.db'}")
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.mark.timeout(400)  # it starts two servers
def test_a_server_that_is_told_to_end_under_load_answers_what_it_was_asked_and_has_it_on_disk(server: Server) -> None:
    with client_of(server.api) as api:
        flow_id = api.post("/flows/", json={"name": "soak"}).json()["id"]
    stopping = threading.Event()
    clients = [Client(server.api, flow_id, stopping) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    body = json.dumps({"flow_id": flow_id, "name": "asked before"}).encode()
    headers = (
        "POST /api/flow_runs/ HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    head = "\r\n".join([*headers, "", ""])
    try:
        with socket.create_connection(("127.0.0.1", server.port), SECONDS) as asked:
            asked.sendall(head.encode() + body[:10])
            wait_for(lambda: all(len(client.acknowledged) > 5 for client in clients))
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: not is_listening(server.port))
            asked.sendall(body[10:])
            answer = asked.makefile("rb").readline()
            assert answer.split()[1] == b"201"
        assert server.process.wait(SECONDS) == -signal.SIGTERM
        server.start()
    finally:
        stopping.set()
    for client in clients:
        client.join(SECONDS)
        assert client.problems == []
    with client_of(server.api) as api:
        where = {"flow_runs": {"name": {"any_": ["asked before"]}}}
        assert api.post("/flow_runs/count", json=where).json() == 1
        for client in clients:
            for run_id, acknowledged in client.acknowledged.items():
                states = [each["name"] for each in api.get(f"/flow_run_states/?flow_run_id={run_id}").json()]
                assert states == acknowledged


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
