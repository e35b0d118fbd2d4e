"""Small tasks on a Ray of two CPUs: by Ray alone, by Flowyard, or by prefect-ray, each in its own environment.

Ray is up before anything is measured. Timed are submitting and getting all values, in the flow; and the whole flow.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

from benchmarks.workloads.cluster_work import WARM_UP_TASKS, WORKS, in_a_flow, options
from benchmarks.workloads.ray_cluster import started_ray
from benchmarks.workloads.reply import leave_at_once, reply

_STORE_BYTES = 200_000_000


def raw(ray: Any, work: str, tasks: int) -> dict[str, float]:
    remote = ray.remote(WORKS[work])
    ray.get([remote.remote(number) for number in range(WARM_UP_TASKS)])
    begin = time.perf_counter()
    ray.get([remote.remote(number) for number in range(tasks)])
    seconds = time.perf_counter() - begin
    return {"tasks": tasks, "loop_seconds": seconds, "call_seconds": seconds}


def main() -> None:
    chosen = options()
    ray = started_ray(_STORE_BYTES)
    if chosen.library == "raw":
        reply(**raw(ray, chosen.work, chosen.tasks))
    else:
        adapter = "flowyard_ray" if chosen.library == "flowyard" else "prefect_ray"
        runner = importlib.import_module(adapter).RayTaskRunner
        reply(**in_a_flow(chosen.library, runner(), chosen.work, chosen.mode, chosen.tasks))
    ray.shutdown()
    if chosen.library == "flowyard":
        leave_at_once()


if __name__ == "__main__":
    main()
