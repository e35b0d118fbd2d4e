"""No-op steps of a DBOS workflow on SQLite; "submitted" starts a workflow each, which is DBOS's unit of concurrency."""

from __future__ import annotations

import argparse
import importlib
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.workloads.reply import reply

# Imported by name: DBOS is only in its own environment, not where these files are type-checked.
DBOS: Any = importlib.import_module("dbos").DBOS


@DBOS.step()
def noop(number: int) -> int:
    return number


@DBOS.workflow()
def one(number: int) -> int:
    return noop(number)


@DBOS.workflow()
def sequential(tasks: int) -> float:
    begin = time.perf_counter()
    for number in range(tasks):
        noop(number)
    return time.perf_counter() - begin


@DBOS.workflow()
def submitted(tasks: int) -> float:
    begin = time.perf_counter()
    handles = [DBOS.start_workflow(one, number) for number in range(tasks)]
    for handle in handles:
        handle.get_result()
    return time.perf_counter() - begin


MODES = {"sequential": sequential, "submitted": submitted, "mapped": submitted}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=MODES, default="sequential")
    parser.add_argument("--tasks", type=int, default=1000)
    options = parser.parse_args()
    database = Path(os.environ["HOME"], "dbos.sqlite")
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": f"sqlite:///{database}",
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    MODES[options.mode](10)
    begin = time.perf_counter()
    loop_seconds = MODES[options.mode](options.tasks)
    call_seconds = time.perf_counter() - begin
    reply(tasks=options.tasks, loop_seconds=loop_seconds, call_seconds=call_seconds)
    DBOS.destroy()


if __name__ == "__main__":
    main()
