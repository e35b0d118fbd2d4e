"""What keeping results costs: no-op tasks that persist a small result, and calls that are found in the cache.

Timed is the whole flow call. `plain` is the same flow without anything kept: what the other two are compared with.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

from benchmarks.workloads.reply import leave_at_once, reply
from flowyard import flow, task
from flowyard.cache_policies import INPUTS

WARM_UP_TASKS = 10


def value(number: int) -> dict[str, int]:
    return {"number": number}


TASKS: dict[str, Any] = {
    "plain": task(value),
    "persisted": task(persist_result=True)(value),
    "hits": task(cache_policy=INPUTS)(value),
}


def called(work: Any, tasks: int) -> None:
    for number in range(tasks):
        work(number)


def mapped(work: Any, tasks: int) -> None:
    for future in work.map(list(range(tasks))):
        future.wait()


CALLS: dict[str, Callable[[Any, int], None]] = {"called": called, "mapped": mapped}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=TASKS, default="plain")
    parser.add_argument("--calls", choices=CALLS, default="called")
    parser.add_argument("--tasks", type=int, default=5000)
    options = parser.parse_args()
    work, call = TASKS[options.kind], CALLS[options.calls]

    @flow
    def measured(tasks: int) -> str:
        call(work, tasks)
        return "done"

    measured(WARM_UP_TASKS)
    if options.kind == "hits":
        measured(options.tasks)
    cpu, begin = time.process_time(), time.perf_counter()
    measured(options.tasks)
    seconds = time.perf_counter() - begin
    reply(tasks=options.tasks, call_seconds=seconds, process_cpu_seconds=time.process_time() - cpu)
    leave_at_once()


if __name__ == "__main__":
    main()
