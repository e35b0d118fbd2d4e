"""A flow of 200 tasks that a test kills and resumes; when a task begins and when it ends is a line in a file.

    python resumable.py FOLDER        runs the flow
    python resumable.py resume        finds its run, says what state it is in, and resumes it by its entrypoint

In the environment: RESUMABLE_RUNNER, and RESUMABLE_ADDRESS of the cluster for dask and ray. RESUMABLE_ORDER: "given",
or "completion", which submits the second half in the order in which the first completes.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from flowyard import flow, task
from flowyard.client import get_client
from flowyard.futures import as_completed
from flowyard.recovery import resume_flow_run
from flowyard.runtime import task_run
from flowyard.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner, SequentialTaskRunner

HALF = 100
LOG = "log"


def note(folder: str, moment: str, name: str) -> None:
    """Write what happens; one write to a file that is opened to append is whole, whoever else writes."""
    descriptor = os.open(Path(folder, LOG), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{moment} {name} {task_run.id}\n".encode())
    finally:
        os.close(descriptor)


@task(persist_result=True)
def first(folder: str, number: int) -> int:
    """Make a number."""
    note(folder, "begin", f"first-{number}")
    time.sleep(random.uniform(0, 0.004))
    note(folder, "end", f"first-{number}")
    return number


@task(persist_result=True)
def second(folder: str, number: int) -> int:
    """Use one."""
    note(folder, "begin", f"second-{number}")
    time.sleep(random.uniform(0, 0.004))
    note(folder, "end", f"second-{number}")
    return number * 1000


@task(persist_result=True)
def extra(folder: str) -> int:
    """Be what an edit adds."""
    note(folder, "begin", "extra-0")
    note(folder, "end", "extra-0")
    return 7


def runner_of(name: str) -> Any:
    """Return a runner with room for a few tasks."""
    if name == "dask":
        from flowyard_dask import DaskTaskRunner

        return DaskTaskRunner(address=os.environ["RESUMABLE_ADDRESS"])
    if name == "ray":
        from flowyard_ray import RayTaskRunner

        return RayTaskRunner(address=os.environ["RESUMABLE_ADDRESS"])
    return {
        "sequential": SequentialTaskRunner(),
        "concurrent": ConcurrentTaskRunner(max_workers=4),
        "process": ProcessPoolTaskRunner(max_workers=2),
    }[name]


@flow(task_runner=runner_of(os.environ["RESUMABLE_RUNNER"]))
def halves(folder: str) -> int:
    """Make numbers, use them, and add up."""
    made: Any
    if os.environ["RESUMABLE_ORDER"] == "completion":
        made = as_completed(list(first.map(folder, random.sample(range(HALF), HALF))))
    else:
        made = [first.submit(folder, number) for number in range(HALF)]
    return sum(future.result() for future in [second.submit(folder, future) for future in made])


def main() -> None:
    """Run or resume the flow and print its value."""
    if sys.argv[1] == "resume":
        with get_client(sync_client=True) as client:
            (run,) = client.read_flow_runs()
        print("found", run.state_name, flush=True)
        value = resume_flow_run(run.id).result()
    else:
        value = halves(sys.argv[1])
    print("value", value, flush=True)


if __name__ == "__main__":
    main()
