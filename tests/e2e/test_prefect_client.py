"""The published Prefect 2.20 speaks to our server: its client, flows, command line and process worker.

Slow: it installs Prefect into an environment of its own, which takes the package index and a minute.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from flowyard.server.app import create_app
from flowyard.settings import Settings
from flowyard.testing.servers import RunningServer, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FLOWS = Path(__file__).parent / "workloads" / "prefect_flows.py"
Run = Callable[..., str]


@pytest.fixture(scope="module")
def prefect_bin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the programs of Prefect 2.20."""
    folder = tmp_path_factory.mktemp("prefect")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin" / "python", "-m", "pip", "install", "-q", "prefect>=2.20,<2.21"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"Prefect cannot be installed from the package index: {done.stderr[-300:]}")
    return folder / "bin"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    if request.param == "sqlite":
        url = f"sqlite:///{folder / 'server.db'}"
    else:
        postgres = request.getfixturevalue("postgres_server")
        url = postgres.url(postgres.make_database())
    settings = Settings.from_env({"FLOWYARD_HOME": str(folder), "FLOWYARD_API_DATABASE_CONNECTION_URL": url})
    with serving(create_app(settings, with_services=True)) as running:
        yield running


@pytest.fixture
def run(server: RunningServer, prefect_bin: Path, tmp_path: Path) -> Run:
    """Run a program of Prefect against the server and return what it wrote."""

    def call(*command: str) -> str:
        done = subprocess.run(
            [str(prefect_bin / command[0]), *command[1:]],
            env=environment(server, prefect_bin, tmp_path),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


def environment(server: RunningServer, prefect_bin: Path, home: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "PYTHON"))},
        "PATH": f"{prefect_bin}{os.pathsep}{os.environ['PATH']}",
        "PREFECT_API_URL": f"{server.address}/api",
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


@pytest.fixture
def ask(server: RunningServer) -> Callable[..., object]:
    def post(path: str, **body: object) -> object:
        answer = httpx.post(f"{server.address}/api{path}", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json()

    return post


def test_its_flows_report_to_us(run: Run, ask: Callable[..., list[dict[str, object]]]) -> None:
    run("prefect", "concurrency-limit", "create", "database", "1")
    run("prefect", "gcl", "create", "shared", "--limit", "1")

    # 1 + 3, 2 + 3, 3 + 3, the child's 5, and 1 twice: the second is cached.
    assert "result 22" in run("python", str(FLOWS), "run")

    runs = ask("/flow_runs/filter", flows={"name": {"any_": ["parent"]}})
    tasks = ask("/task_runs/filter", flow_runs={"id": {"any_": [runs[0]["id"]]}})
    assert runs[0]["state_type"] == "COMPLETED"
    assert {str(task["state_type"]) for task in tasks} == {"COMPLETED"}
    assert {str(task["state_name"]) for task in tasks} == {"Completed", "Cached"}
    assert next(task["run_count"] for task in tasks if str(task["name"]).startswith("flaky")) == 2
    logs = ask("/logs/filter", logs={"flow_run_id": {"any_": [runs[0]["id"]]}})
    assert any("adding 1 and 3" in str(line["message"]) for line in logs)
    artifacts = ask("/artifacts/filter", flow_runs={"id": {"any_": [runs[0]["id"]]}})
    assert {artifact["key"] for artifact in artifacts} >= {"report", "table"}
    assert ask("/v2/concurrency_limits/filter")[0]["active_slots"] == 0


def test_its_blocks_and_variables_are_kept(run: Run) -> None:
    run("python", str(FLOWS), "objects")
    assert "region" in run("prefect", "variable", "ls")
    assert "password" in run("prefect", "block", "ls")
    assert "hush" not in run("prefect", "block", "inspect", "secret/password")


@pytest.fixture
def worker(server: RunningServer, prefect_bin: Path, tmp_path: Path, run: Run) -> Iterator[subprocess.Popen[bytes]]:
    """A process worker of Prefect, of a pool that has the deployments of our flows."""
    shutil.copy(FLOWS, tmp_path)
    run("prefect", "work-pool", "create", "processes", "--type", "process", "--overwrite")
    run("python", str(FLOWS), "deploy", str(tmp_path))
    with (tmp_path / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [prefect_bin / "prefect", "worker", "start", "--pool", "processes"],
            env=environment(server, prefect_bin, tmp_path),
            cwd=tmp_path,
            stdout=log,
            stderr=log,
        )
    yield process
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    process.kill()


def run_in_state(
    ask: Callable[..., list[dict[str, object]]],
    worker: subprocess.Popen[bytes],
    log: Path,
    deployment: str,
    states: list[str],
) -> dict[str, object]:
    """Wait until a run of a deployment is in one of some states, and return it."""
    deadline = time.monotonic() + 240
    found: list[dict[str, object]] = []
    while not found:
        assert time.monotonic() < deadline, log.read_text()
        assert worker.poll() is None, log.read_text()
        time.sleep(0.5)
        found = ask(
            "/flow_runs/filter",
            deployments={"name": {"any_": [deployment]}},
            flow_runs={"state": {"type": {"any_": states}}},
        )
    return found[0]


ENDED = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


def test_its_worker_takes_runs_of_deployments(
    run: Run, ask: Callable[..., list[dict[str, object]]], worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    run("prefect", "deployment", "run", "child/nightly", "-p", "n=8")
    done = run_in_state(ask, worker, tmp_path / "worker.log", "nightly", ENDED)
    assert (done["state_type"], done["parameters"]) == ("COMPLETED", {"n": 8})
    assert "processes" in run("prefect", "work-pool", "ls")
    assert "Flow Runs" in run("prefect", "flow-run", "ls")  # it cuts the words where there is no terminal


def test_its_worker_takes_a_suspended_run_again_when_our_command_has_resumed_it(
    run: Run,
    ask: Callable[..., list[dict[str, object]]],
    server: RunningServer,
    worker: subprocess.Popen[bytes],
    tmp_path: Path,
) -> None:
    run("prefect", "deployment", "run", "approval/manual", "-p", "n=4")
    suspended = run_in_state(ask, worker, tmp_path / "worker.log", "manual", ["PAUSED"])
    assert suspended["state_name"] == "Suspended"

    ours = {**os.environ, "FLOWYARD_HOME": str(tmp_path / "ours"), "FLOWYARD_API_URL": f"{server.address}/api"}
    command = [sys.executable, "-m", "flowyard.cli", "flow-run", "resume", str(suspended["id"])]
    resumed = subprocess.run(command, env=ours, capture_output=True, text=True, check=False)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr

    done = run_in_state(ask, worker, tmp_path / "worker.log", "manual", ENDED)
    assert (done["id"], done["state_type"]) == (suspended["id"], "COMPLETED"), (tmp_path / "worker.log").read_text()
    states = httpx.get(f"{server.address}/api/flow_run_states/", params={"flow_run_id": str(done["id"])}).json()
    names = [state["name"] for state in states]
    assert names.count("Running") == 2
    assert [name for name in names if name in ("Suspended", "Resuming")] == ["Suspended", "Resuming"]
    (task,) = ask("/task_runs/filter", flow_runs={"id": {"any_": [done["id"]]}})
    assert (task["state_type"], task["run_count"]) == ("COMPLETED", 1)
