"""No-op tasks, called, submitted or mapped in one flow; for Flowyard and, by a swap of the import, both Prefects.

Timed are the loop inside the flow, and the whole flow call: from before the flow run is created until it returns.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.workloads.reply import leave_at_once, reply

library: Any = importlib.import_module(os.environ.get("FLOWYARD_BENCHMARK_LIBRARY", "flowyard"))

WARM_UP_TASKS = 10
PREFECT3_RECORDING_LIMIT = 120.0
"""Seconds that are waited for Prefect 3 to record the states of a run that has returned."""


@library.task
def noop(number: int) -> int:
    return number


def sequential(tasks: int) -> float:
    begin = time.perf_counter()
    for number in range(tasks):
        noop(number)
    return time.perf_counter() - begin


def submitted(tasks: int) -> float:
    begin = time.perf_counter()
    futures = [noop.submit(number) for number in range(tasks)]
    for future in futures:
        future.result()
    return time.perf_counter() - begin


def mapped(tasks: int) -> float:
    begin = time.perf_counter()
    for future in noop.map(list(range(tasks))):
        future.result()
    return time.perf_counter() - begin


MODES = {"sequential": sequential, "submitted": submitted, "mapped": mapped}


def prefect_state_counts() -> dict[str, int]:
    database = Path(os.environ["PREFECT_HOME"], "prefect.db")
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)
    try:
        return dict(connection.execute("SELECT type, count(*) FROM task_run_state GROUP BY type").fetchall())
    finally:
        connection.close()


def states_missing(before: dict[str, int], tasks: int) -> int:
    now = prefect_state_counts()
    return sum(
        max(0, tasks - now.get(state, 0) + before.get(state, 0)) for state in ("PENDING", "RUNNING", "COMPLETED")
    )


def settle(limit: float = 15.0) -> dict[str, int]:
    """Return Prefect 3's counts once the warm-up's states have stopped coming in."""
    deadline = time.perf_counter() + limit
    counts = prefect_state_counts()
    while time.perf_counter() < deadline:
        time.sleep(1.0)
        if (now := prefect_state_counts()) == counts and counts.get("COMPLETED", 0) >= WARM_UP_TASKS:
            break
        counts = now
    return counts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=MODES, default="sequential")
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--runner", default="", help="name of a task runner class; the flow's default without")
    parser.add_argument("--workers", type=int, default=2, help="workers of that runner")
    parser.add_argument("--wait-for-start", action="store_true", help="run when a line arrives on standard input")
    parser.add_argument("--wait-until-recorded", action="store_true", help="Prefect 3: poll its database afterwards")
    parser.add_argument("--no-warm-up", action="store_true")
    options = parser.parse_args()

    extra: dict[str, Any] = {}
    if options.runner:
        runners = importlib.import_module(f"{library.__name__}.task_runners")
        extra["task_runner"] = getattr(runners, options.runner)(max_workers=options.workers)
    measured = library.flow(MODES[options.mode], **extra)
    if options.wait_for_start:
        print("ready", flush=True)
        sys.stdin.readline()
    if not options.no_warm_up:
        library.flow(MODES[options.mode], name="warm-up", **extra)(WARM_UP_TASKS)
    before = settle() if options.wait_until_recorded else {}

    cpu, thread_cpu = time.process_time(), time.thread_time()
    begin = time.perf_counter()
    loop_seconds = measured(options.tasks)
    call_seconds = time.perf_counter() - begin
    values = {
        "tasks": options.tasks,
        "loop_seconds": loop_seconds,
        "call_seconds": call_seconds,
        "process_cpu_seconds": time.process_time() - cpu,
        "calling_thread_cpu_seconds": time.thread_time() - thread_cpu,
    }
    if options.wait_until_recorded:
        while (missing := states_missing(before, options.tasks)) and (
            time.perf_counter() - begin < PREFECT3_RECORDING_LIMIT
        ):
            time.sleep(0.05)
        values |= {"recorded_seconds": time.perf_counter() - begin, "states_missing": missing}
    reply(**values)
    if library.__name__ == "flowyard":
        leave_at_once()


if __name__ == "__main__":
    main()
