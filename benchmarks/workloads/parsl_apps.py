"""No-op apps of Parsl on its thread executor, which records nothing."""

from __future__ import annotations

import argparse
import importlib
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.workloads.reply import reply

# Imported by name: Parsl is only in its own environment, not where these files are type-checked.
parsl: Any = importlib.import_module("parsl")


@parsl.python_app
def noop(number: int) -> int:
    return number


def sequential(tasks: int) -> float:
    begin = time.perf_counter()
    for number in range(tasks):
        noop(number).result()
    return time.perf_counter() - begin


def submitted(tasks: int) -> float:
    begin = time.perf_counter()
    for future in [noop(number) for number in range(tasks)]:
        future.result()
    return time.perf_counter() - begin


MODES = {"sequential": sequential, "submitted": submitted, "mapped": submitted}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=MODES, default="sequential")
    parser.add_argument("--tasks", type=int, default=5000)
    options = parser.parse_args()
    run_dir = Path(os.environ["HOME"], "runinfo")
    executor = parsl.ThreadPoolExecutor(max_threads=2)
    config = parsl.Config(executors=[executor], run_dir=str(run_dir), usage_tracking=0)
    with parsl.load(config):
        MODES[options.mode](10)
        seconds = MODES[options.mode](options.tasks)
    reply(tasks=options.tasks, loop_seconds=seconds, call_seconds=seconds)


if __name__ == "__main__":
    main()
