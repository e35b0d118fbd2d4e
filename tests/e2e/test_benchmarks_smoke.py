"""The benchmark runs, and a run that lacks a record is no figure."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TASKS = 20
UPSTREAMS = 30


@pytest.fixture(scope="module")
def measured_home() -> Iterator[Path]:
    """Return the home of a measured graph of `TASKS` tasks, run at level INFO."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        from benchmarks import launch

        arm = launch.Arm(
            "smoke",
            launch.workload("graph", layers=2, width=TASKS // 2),
            environment={"FLOWYARD_LOGGING_LEVEL": "INFO"},
        )
        with launch.run(arm, launch.own_interpreter()) as reply:
            yield reply.home


@pytest.fixture
def finished_home(measured_home: Path, tmp_path: Path) -> Path:
    """Return a copy of it, to be damaged."""
    return Path(shutil.copytree(measured_home, tmp_path / "finished"))


def test_a_quick_run_prints_a_table_and_writes_every_sample(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "sequential", "graph", "--output", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| what" in done.stdout
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert set(results["cases"]) == {"sequential", "graph"}
    assert results["cases"]["sequential"]["arms"]["flowyard, ERROR"]["call_seconds"]["n"] == 1
    assert not any(case["failures"] for case in results["cases"].values())


def test_a_quick_run_on_dask_counts_the_records_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks",
            "--quick",
            "--only",
            "dask-noop",
            "dask-million",
            "--output",
            str(tmp_path),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert set(results["cases"]) == {"dask-noop", "dask-million"}
    assert set(results["cases"]["dask-noop"]["arms"]) == {"flowyard on Dask", "Dask alone"}
    assert results["cases"]["dask-million"]["arms"]["flowyard on Dask"]["first_seconds"]["n"] == 1


@pytest.mark.timeout(400)  # four cases, and a server for each
def test_a_quick_run_against_servers_fills_the_table(tmp_path: Path) -> None:
    cases = ["server-requests", "server-lists", "server-logs", "server-slots"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", *cases, "--output", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert set(results["cases"]) == set(cases)
    assert not any(case["failures"] for case in results["cases"].values())
    measured = [row for case in results["cases"].values() for row in case["rows"] if row["measured"]]
    assert {row["target"] for row in measured} >= {
        "at most 20 ms",
        "at most 60 ms",
        "at most 50 ms",
        "at least 20,000/s",
    }


def test_a_run_with_all_its_records_passes_the_check(finished_home: Path) -> None:
    from benchmarks import records

    records.verify(finished_home, records.Expected(tasks=TASKS, upstreams=UPSTREAMS, logged=True))
    with pytest.raises(records.RecordsMissing, match=f"task runs: {TASKS} instead of {TASKS + 1}"):
        records.verify(finished_home, records.Expected(tasks=TASKS + 1, upstreams=UPSTREAMS, logged=True))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        pytest.param(
            "DELETE FROM task_run_state WHERE id = (SELECT max(id) FROM task_run_state WHERE type = 'PENDING')",
            f"task runs with a state PENDING: {TASKS - 1} instead of {TASKS}",
            id="a state",
        ),
        pytest.param(
            "DELETE FROM task_run WHERE id = (SELECT max(id) FROM task_run)",
            f"task runs: {TASKS - 1} instead of {TASKS}",
            id="a task run",
        ),
        pytest.param(
            "UPDATE task_run SET task_inputs = '{}' WHERE id = (SELECT max(id) FROM task_run)",
            f"upstreams in the inputs: {UPSTREAMS - 3} instead of {UPSTREAMS}",
            id="inputs",
        ),
        pytest.param(
            "DELETE FROM log WHERE id = (SELECT max(id) FROM log WHERE message LIKE 'Created task run%')",
            f"log records 'Created task run ': {TASKS - 1} instead of {TASKS}",
            id="a log record",
        ),
    ],
)
def test_a_missing_record_is_told(finished_home: Path, damage: str, complaint: str) -> None:
    from benchmarks import records

    with closing(sqlite3.connect(finished_home / records.DATABASE)) as connection, connection:
        assert connection.execute(damage).rowcount == 1
    with pytest.raises(records.RecordsMissing) as raised:
        records.verify(finished_home, records.Expected(tasks=TASKS, upstreams=UPSTREAMS, logged=True))
    assert complaint in str(raised.value)
