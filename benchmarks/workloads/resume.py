"""How long a resumed flow needs until it executes something: all of its tasks but one are complete and persisted.

A process of its own runs the flow until all these tasks are complete, and ends without a word. This one then resumes
the run. Timed is from the call of `resume_flow_run`, with the database still closed, until the first line of the first
task that is executed, and what the flow does before that: it calls all its completed tasks again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.workloads.reply import leave_at_once, reply
from flowyard import flow, task
from flowyard.recovery import resume_flow_run
from flowyard.runtime import flow_run

STARTED: list[float] = []


@task(persist_result=True)
def done(number: int) -> dict[str, int]:
    if STARTED:
        raise RuntimeError(f"task {number} was complete, and is executed again")
    return {"number": number}


@task
def new(calls: int, *, dies: bool) -> int:
    if dies:
        print(flow_run.id, flush=True)
        os._exit(0)
    STARTED.append(time.perf_counter())
    return calls


def called(tasks: int) -> int:
    return sum(done(number)["number"] for number in range(tasks))


def mapped(tasks: int) -> int:
    return sum(value["number"] for value in done.map(list(range(tasks))).result())


def unread(tasks: int) -> int:
    for number in range(tasks):
        done(number, return_state=True)
    return tasks


CALLS: dict[str, Callable[[int], int]] = {"called": called, "mapped": mapped, "unread": unread}


@flow
def long(tasks: int, calls: str) -> int:
    return new(CALLS[calls](tasks), dies="--first" in sys.argv)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", choices=CALLS, default="called")
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--first", action="store_true", help="run the flow up to the new task, and die there")
    options = parser.parse_args()
    if options.first:
        long(options.tasks, options.calls)
        raise RuntimeError("the flow was to die")
    command = [sys.executable, "-m", "benchmarks.workloads.resume", *sys.argv[1:], "--first"]
    first: Any = subprocess.run(command, capture_output=True, text=True, check=True)
    begin, began_cpu = time.perf_counter(), time.process_time()
    resume_flow_run(first.stdout.split()[-1], flow=long)
    seconds = STARTED[0] - begin
    reply(tasks=options.tasks, call_seconds=seconds, process_cpu_seconds=time.process_time() - began_cpu)
    leave_at_once()


if __name__ == "__main__":
    main()
