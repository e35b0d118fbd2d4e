"""What many tasks, and large values, leave in the flow's process and in the Dask scheduler.

`--mode many`: tasks in one flow whose futures are dropped. `--mode array`: an array made by one task and read by ten.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from distributed import Client

from benchmarks.workloads.dask_cluster import dask_cluster, resident_bytes
from benchmarks.workloads.reply import leave_at_once, reply
from flowyard import flow, task
from flowyard_dask import DaskTaskRunner

SUBMITTED_AT_ONCE = 1_000
READERS = 10


@task
def value(number: int) -> str:
    return f"{number:0200d}"


@task
def make_array(megabytes: int) -> Any:
    import numpy as np  # noqa: PLC0415  only the workers need it

    return np.ones(megabytes * 125_000)


@task
def read_array(array: Any, number: int) -> float:
    return float(array.sum()) + number


def used(scheduler: int) -> tuple[int, int]:
    """Return what this process and the scheduler use, once what was dropped has been let go."""
    time.sleep(1.0)
    return resident_bytes(), resident_bytes(scheduler)


def many(scheduler: int, size: int) -> dict[str, float]:
    flow_before, scheduler_before = used(scheduler)
    for first in range(0, size, SUBMITTED_AT_ONCE):
        for future in [value.submit(number) for number in range(first, min(first + SUBMITTED_AT_ONCE, size))]:
            future.result()
    flow_after, scheduler_after = used(scheduler)
    return {"flow_growth_bytes": flow_after - flow_before, "scheduler_growth_bytes": scheduler_after - scheduler_before}


def array(scheduler: int, size: int) -> dict[str, float]:
    del scheduler  # its values are not there
    before = highest = resident_bytes()
    made = make_array.submit(size)
    readers = [read_array.submit(made, number) for number in range(READERS)]
    for number, reader in enumerate(readers):
        if reader.result() != size * 125_000 + number:
            raise ValueError(f"reader {number} read {reader.result()}")
        highest = max(highest, resident_bytes())
    return {"flow_growth_bytes": max(highest, resident_bytes()) - before}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=("many", "array"), default="many")
    parser.add_argument("--size", type=int, default=100_000, help="tasks, or megabytes")
    options = parser.parse_args()
    measured = {"many": many, "array": array}[options.mode]
    with dask_cluster() as cluster:
        client: Any
        with Client(cluster.address, set_as_default=False) as client:
            client.wait_for_workers(2)
        runner = DaskTaskRunner(address=cluster.address)
        flow(name="warm-up", task_runner=runner)(measured)(cluster.scheduler.pid, 100 if options.mode == "many" else 1)
        begin = time.perf_counter()
        values = flow(name="measured", task_runner=runner)(measured)(cluster.scheduler.pid, options.size)
        reply(call_seconds=time.perf_counter() - begin, **values)
    leave_at_once()


if __name__ == "__main__":
    main()
