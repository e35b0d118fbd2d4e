"""Many tasks on a Dask cluster of two workers: by Dask alone, by Flowyard, and by Prefect 2 with prefect-dask."""

from __future__ import annotations

import importlib
import os
import time
from typing import Any

from distributed import Client

from benchmarks.workloads.cluster_work import WARM_UP_TASKS, WORKERS, WORKS, in_a_flow, options
from benchmarks.workloads.dask_cluster import dask_cluster
from benchmarks.workloads.reply import reply


def with_dask_alone(address: str, work: str, tasks: int) -> dict[str, float]:
    """Submit one by one, as `client.submit` is used."""
    client: Any
    function = WORKS[work]
    with Client(address, set_as_default=False) as client:
        client.gather([client.submit(function, number, pure=False) for number in range(WARM_UP_TASKS)])
        begin = time.perf_counter()
        client.gather([client.submit(function, number, pure=False) for number in range(tasks)])
        seconds = time.perf_counter() - begin
    return {"tasks": tasks, "loop_seconds": seconds, "call_seconds": seconds}


def main() -> None:
    given = options()
    with dask_cluster(WORKERS) as cluster:
        client: Any
        with Client(cluster.address, set_as_default=False) as client:
            client.wait_for_workers(WORKERS)
        if given.library == "raw":
            values = with_dask_alone(cluster.address, given.work, given.tasks)
        else:
            module: Any = importlib.import_module(f"{given.library}_dask")
            runner = module.DaskTaskRunner(address=cluster.address)
            values = in_a_flow(given.library, runner, given.work, given.mode, given.tasks)
        reply(**values)
    os._exit(0)


if __name__ == "__main__":
    main()
