"""What recording costs: microseconds of the journal's writer thread for one task run, alone and beside a busy thread.

A task run here is what the engine records for one call: created with one input, Pending, Running, Completed.
Run it with

    python benchmarks/journal_floor.py

It prints, taken in one run: the floor (the same rows, ready-made, through the bare `sqlite3` module), an append, and
the journal. Processor time is that of the writer thread alone, so that other load disturbs it little.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from uuid import UUID

from flowyard.local.backend import LocalBackend
from flowyard.schemas.events import JournalEvent, LogEmitted, TaskRunCreated, TaskRunEntered
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun, TaskRun, utcnow
from flowyard.schemas.states import State, StateDetails, StateType

KINDS = (StateType.PENDING, StateType.RUNNING, StateType.COMPLETED)


def events_of(flow_run_id: UUID, number: int, *, log_lines: int) -> list[JournalEvent]:
    run = TaskRun(
        "get_stars-1a2b3c4d",
        str(number),
        f"get_stars-{number}",
        "get_stars",
        flow_run_id=flow_run_id,
        task_inputs={"repo": [{"input_type": "task_run", "id": str(new_id())}]},
    )
    details = StateDetails(flow_run_id=flow_run_id, task_run_id=run.id)
    events: list[JournalEvent] = [TaskRunCreated(run)]
    events += [TaskRunEntered(run.id, State(kind, state_details=details)) for kind in KINDS]
    events += [
        LogEmitted(flow_run_id, run.id, "flowyard.task_runs", 20, f"Created task run 'get_stars-{number}'", utcnow())
        for _ in range(log_lines)
    ]
    return events


def measure_journal(tasks: int, *, is_busy: bool, log_lines: int) -> dict[str, float]:
    """Record `tasks` task runs in batches as a flow at full speed makes them; return microseconds per task run."""
    with tempfile.TemporaryDirectory() as folder, _open(folder) as backend:
        run = FlowRun(flow_id=new_id(), name="benchmark", state=State(StateType.PENDING))
        lease = backend.control.begin_flow_run("benchmark", run)
        recorder = backend.journal.recorder(lease)
        batches = [
            [event for number in range(start, start + 400) for event in events_of(run.id, number, log_lines=log_lines)]
            for start in range(0, tasks, 400)
        ]
        tasks = len(batches) * 400
        writer = next(thread for thread in threading.enumerate() if thread.name == "flowyard-journal")
        assert writer.ident is not None
        clock = time.pthread_getcpuclockid(writer.ident)
        stop = threading.Event()
        busy = threading.Thread(target=_be_busy, args=(stop,))
        if is_busy:
            busy.start()
        appending = 0.0
        events = 0
        before, began = time.clock_gettime(clock), time.perf_counter()
        for batch in batches:
            at = time.perf_counter()
            for event in batch:
                recorder.append(event)
            appending += time.perf_counter() - at
            events += len(batch)
            # Beside a busy thread a barrier costs many turns of the interpreter lock; a flow has one at its end.
            if not is_busy:
                backend.journal.flush()
        backend.journal.flush()
        elapsed, used = time.perf_counter() - began, time.clock_gettime(clock) - before
        stop.set()
        if is_busy:
            busy.join()
        counts = backend.control.task_run_counts(run.id)
        assert counts == {("get_stars", "Completed"): tasks}, counts
        return {
            "append": appending / events * 1e6,
            "writer_cpu": used / tasks * 1e6,
            "wall": elapsed / tasks * 1e6,
        }


def measure_floor(tasks: int) -> float:
    """Write the same rows, ready-made, with nothing but the `sqlite3` module; return microseconds per task run."""
    with tempfile.TemporaryDirectory() as folder:
        with _open(folder) as backend:
            run = FlowRun(flow_id=new_id(), name="floor", state=State(StateType.PENDING))
            recorder = backend.journal.recorder(backend.control.begin_flow_run("floor", run))
            for number in range(tasks):
                for event in events_of(run.id, number, log_lines=0):
                    recorder.append(event)
        connection = sqlite3.connect(Path(folder) / "flowyard.db", isolation_level=None)
        runs = connection.execute("SELECT * FROM task_run").fetchall()
        states = connection.execute("SELECT * FROM task_run_state").fetchall()
        connection.execute("DELETE FROM task_run")
        connection.execute("DELETE FROM task_run_state")
        connection.execute("PRAGMA synchronous=NORMAL")
        began = time.thread_time()
        for start in range(0, tasks, 400):
            connection.execute("BEGIN IMMEDIATE")
            _insert(connection, "task_run", runs[start : start + 400])
            _insert(connection, "task_run_state", states[start * 3 : (start + 400) * 3])
            connection.execute("COMMIT")
        used = time.thread_time() - began
        connection.close()
        return used / tasks * 1e6


def _insert(connection: sqlite3.Connection, table: str, rows: list[tuple[object, ...]]) -> None:
    row = "(" + ",".join("?" * len(rows[0])) + ")"
    for start in range(0, len(rows), 200):
        piece = rows[start : start + 200]
        values = [value for found in piece for value in found]
        connection.execute(f"INSERT INTO {table} VALUES " + ",".join([row] * len(piece)), values)


def _open(folder: str) -> LocalBackend:
    return LocalBackend.open(f"sqlite:///{folder}/flowyard.db", Path(folder))


def _be_busy(stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        for _ in range(10_000):
            number = (number * 31 + 7) % 1_000_003


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    found: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        found.setdefault("floor: bare sqlite3, writer cpu", []).append(measure_floor(options.tasks))
        for name, is_busy, lines in (("alone", False, 0), ("2 log lines", False, 2), ("busy main thread", True, 0)):
            for what, value in measure_journal(options.tasks, is_busy=is_busy, log_lines=lines).items():
                found.setdefault(f"{name}: {what}", []).append(value)
    if options.json:
        print(json.dumps({"python": sys.version, "tasks": options.tasks, "microseconds": found}))
        return
    for name, values in found.items():
        spread = f"{min(values):.1f} to {max(values):.1f}"
        print(f"{name:36} {statistics.median(values):8.2f} us   ({spread})")


if __name__ == "__main__":
    main()
