"""A flow of 200 tasks that a test kills and resumes; each execution of a task is a line in a file.

    python resumable.py RUNNER MODE FOLDER [RESUME FLOW_RUN_ID]

MODE: "plain"; "completion" submits the second half in the order in which the first completes; "edited" has another
flow function, with a task more, when it is resumed. RUNNER: sequential, concurrent, process, dask or ray.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from flowyard import flow, task
from flowyard.futures import as_completed
from flowyard.recovery import resume_flow_run
from flowyard.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner, SequentialTaskRunner

HALF = 100
LOG = "executions"


def note(folder: str, key: str) -> None:
    """Write that a task begins; one write to a file that is opened to append is whole, whoever else writes."""
    descriptor = os.open(Path(folder, LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{key}\n".encode())
    finally:
        os.close(descriptor)


@task(persist_result=True)
def first(folder: str, number: int) -> int:
    """Make a number."""
    note(folder, f"first {number}")
    time.sleep(random.uniform(0, 0.004))
    return number


@task(persist_result=True)
def second(folder: str, number: int) -> int:
    """Use one."""
    note(folder, f"second {number}")
    time.sleep(random.uniform(0, 0.004))
    return number * 1000


@task(persist_result=True)
def extra(folder: str) -> int:
    """Be what an edit adds."""
    note(folder, "extra 0")
    return 7


def runner_of(name: str) -> Any:
    """Return a runner with room for two tasks."""
    if name == "dask":
        from flowyard_dask import DaskTaskRunner

        return DaskTaskRunner(address=os.environ["RESUMABLE_DASK"])
    if name == "ray":
        from flowyard_ray import RayTaskRunner

        return RayTaskRunner(address=os.environ["RESUMABLE_RAY"])
    return {
        "sequential": SequentialTaskRunner(),
        "concurrent": ConcurrentTaskRunner(max_workers=4),
        "process": ProcessPoolTaskRunner(max_workers=2),
    }[name]


def plain(folder: str) -> int:
    """Submit in one order."""
    made = [first.submit(folder, number) for number in range(HALF)]
    return sum(future.result() for future in [second.submit(folder, future) for future in made])


def completion(folder: str) -> int:
    """Submit in the order in which things complete."""
    made = first.map(folder, random.sample(range(HALF), HALF))
    return sum(future.result() for future in [second.submit(folder, future) for future in as_completed(list(made))])


def edited(folder: str) -> int:
    """Have one task more than `plain`, in the middle, and another order."""
    made = [first.submit(folder, number) for number in reversed(range(HALF))]
    more = extra.submit(folder)
    return sum(future.result() for future in [second.submit(folder, future) for future in made]) + more.result()


def main() -> None:
    """Run or resume the flow and print its value."""
    runner, mode, folder, *resumed = sys.argv[1:]
    function = {"plain": plain, "completion": completion, "edited": edited if resumed else plain}[mode]
    halves = flow(function).with_options(name="halves", task_runner=runner_of(runner))
    value = resume_flow_run(resumed[1], flow=halves).result() if resumed else halves(folder)
    print("value", value, flush=True)


if __name__ == "__main__":
    main()
