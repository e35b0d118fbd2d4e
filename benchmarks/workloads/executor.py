"""The same no-op submitted to `concurrent.futures`, which records nothing: the floor for a runner of its kind."""

from __future__ import annotations

import argparse
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

from benchmarks.workloads.reply import reply


def noop(number: int) -> int:
    return number


def run(executor: Executor, tasks: int) -> float:
    begin = time.perf_counter()
    for future in [executor.submit(noop, number) for number in range(tasks)]:
        future.result()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind", choices=("threads", "processes"), default="threads")
    parser.add_argument("--tasks", type=int, default=5000)
    options = parser.parse_args()
    if options.kind == "threads":
        executor: Executor = ThreadPoolExecutor()
    else:
        executor = ProcessPoolExecutor(2, mp_context=get_context("spawn"))
    with executor:
        run(executor, 10)
        reply(tasks=options.tasks, call_seconds=run(executor, options.tasks))


if __name__ == "__main__":
    main()
