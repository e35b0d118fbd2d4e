"""Memory kept per finished task whose result was dropped, and the growth of a process over many tasks in one flow.

Resident memory is read after each tenth of the run; the slope after the first fifth, when caches and pools are filled,
is what a task keeps. `--traced` counts Python's own allocations instead, which is slower and exact.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
import tracemalloc
from pathlib import Path

from benchmarks.workloads.reply import leave_at_once, reply
from flowyard import flow, task

SUBMITTED_AT_ONCE = 1000


@task
def value(number: int) -> str:
    return f"{number:0200d}"


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def used_bytes(*, traced: bool) -> int:
    time.sleep(0.2)  # the journal commits what has gathered, so that only what stays is counted
    if not traced:
        return resident_bytes()
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@flow
def many(tasks: int, mode: str, traced: bool) -> list[int]:
    readings = [used_bytes(traced=traced)]
    tenth = tasks // 10
    for begin in range(0, tasks, tenth):
        if mode == "called":
            for number in range(begin, begin + tenth):
                value(number)
        else:
            for first in range(begin, begin + tenth, SUBMITTED_AT_ONCE):
                numbers = range(first, min(first + SUBMITTED_AT_ONCE, begin + tenth))
                for future in [value.submit(number) for number in numbers]:
                    future.result()
        readings.append(used_bytes(traced=traced))
    return readings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=("called", "submitted"), default="called")
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--traced", action="store_true")
    options = parser.parse_args()
    many.with_options(name="warm-up")(100, options.mode, False)
    if options.traced:
        tracemalloc.start()
    begin = time.perf_counter()
    readings = many(options.tasks, options.mode, options.traced)
    call_seconds = time.perf_counter() - begin
    kept = (readings[-1] - readings[2]) / (options.tasks * 0.8)
    reply(
        tasks=options.tasks,
        call_seconds=call_seconds,
        kept_bytes=kept,
        growth_bytes=max(readings) - readings[0],
    )
    leave_at_once()


if __name__ == "__main__":
    main()
