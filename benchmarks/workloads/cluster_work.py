"""What is measured on clusters, for the raw library, for Flowyard and for Prefect alike: the functions, and the loops.

A program for one cluster (`dask_tasks`, `ray_tasks`) starts it, and has the raw library do the same.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from typing import Any

WORKERS = 2
WARM_UP_TASKS = 20


def noop(number: int) -> int:
    return number


def sleep_10ms(number: int) -> int:
    time.sleep(0.01)
    return number


def busy_1ms(number: int) -> int:
    end = time.perf_counter() + 0.001
    while time.perf_counter() < end:
        pass
    return number


def sleep_1s(number: int) -> int:
    time.sleep(1.0)
    return number


WORKS: dict[str, Callable[[int], int]] = {"noop": noop, "sleep": sleep_10ms, "busy": busy_1ms, "whole": sleep_1s}
MODES = ("submit", "map", "batch")


def options() -> argparse.Namespace:
    """Read the command line of a program for one cluster."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", choices=("raw", "flowyard", "prefect"), default="flowyard")
    parser.add_argument("--work", choices=WORKS, default="noop")
    parser.add_argument("--mode", choices=MODES, default="submit")
    parser.add_argument("--tasks", type=int, default=5_000)
    return parser.parse_args()


def in_a_flow(library: str, runner: Any, work: str, mode: str, tasks: int) -> dict[str, float]:
    """Run the tasks in one flow, after a small one that nobody measures; `runner` is given to the flow."""
    module: Any = importlib.import_module(library)
    item: Any = module.task(WORKS[work])

    def run(count: int) -> float:
        begin = time.perf_counter()
        if mode == "submit":
            futures: Any = [item.submit(number) for number in range(count)]
        elif mode == "map":
            futures = item.map(list(range(count)))
        else:
            futures = item.map(range(count), batch_size="auto")
        for future in futures:
            future.result()
        return time.perf_counter() - begin

    warm_up = WARM_UP_TASKS if work != "whole" else WORKERS
    module.flow(name="warm-up", task_runner=runner)(run)(warm_up)
    measured = module.flow(name="measured", task_runner=runner)(run)
    begin = time.perf_counter()
    loop_seconds = measured(tasks)
    return {"tasks": tasks, "loop_seconds": loop_seconds, "call_seconds": time.perf_counter() - begin}
