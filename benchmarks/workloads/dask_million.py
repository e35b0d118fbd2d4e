"""A map of no-op tasks over an iterator on Dask: how much this process grows, and when the first result is there."""

from __future__ import annotations

import argparse
import time

from distributed import Client

from benchmarks.workloads.dask_cluster import dask_cluster, resident_bytes
from benchmarks.workloads.reply import leave_at_once, reply
from flowyard import flow, task
from flowyard_dask import DaskTaskRunner

READ_EVERY = 5_000


@task
def noop(number: int) -> int:
    return number


def mapped(tasks: int) -> dict[str, float]:
    before = highest = resident_bytes()
    begin = time.perf_counter()
    first = 0.0
    for number, future in enumerate(noop.map(iter(range(tasks)), batch_size="auto")):
        if future.result() != number:
            raise ValueError(f"item {number} has the value {future.result()}")
        if not number:
            first = time.perf_counter() - begin
        if not number % READ_EVERY:
            highest = max(highest, resident_bytes())
    return {
        "first_seconds": first,
        "loop_seconds": time.perf_counter() - begin,
        "growth_bytes": max(highest, resident_bytes()) - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=1_000_000)
    options = parser.parse_args()
    with dask_cluster() as cluster:
        with Client(cluster.address, set_as_default=False) as client:
            client.wait_for_workers(2)
        runner = DaskTaskRunner(address=cluster.address)
        flow(name="warm-up", task_runner=runner)(mapped)(100)
        begin = time.perf_counter()
        values = flow(task_runner=runner)(mapped)(options.tasks)
        call_seconds = time.perf_counter() - begin
        reply(tasks=options.tasks, call_seconds=call_seconds, **values)
    leave_at_once()


if __name__ == "__main__":
    main()
