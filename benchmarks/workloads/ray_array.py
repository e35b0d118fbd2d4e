"""A large array that one task makes and others read, on Ray: how much the flow's process grows at most."""

from __future__ import annotations

import argparse
import importlib
import threading
from typing import Any

from benchmarks.workloads.dask_cluster import resident_bytes
from benchmarks.workloads.ray_cluster import started_ray
from benchmarks.workloads.reply import leave_at_once, reply
from flowyard import flow, task
from flowyard_ray import RayTaskRunner

numpy: Any = importlib.import_module("numpy")
READERS = 10


@task
def make(megabytes: int) -> Any:
    return numpy.ones(megabytes * 125_000)


@task
def add_up(array: Any) -> float:
    return float(array.sum())


class Peak(threading.Thread):
    """The most memory that this process had while the block ran."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(0.01):
            self.bytes = max(self.bytes, resident_bytes())

    def __enter__(self) -> Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()


def read_by_many(megabytes: int) -> int:
    before = resident_bytes()
    with Peak() as peak:
        made = make.submit(megabytes)
        sums = [add_up.submit(made) for _ in range(READERS)]
        assert [future.result() for future in sums] == [megabytes * 125_000.0] * READERS
    return peak.bytes - before


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=400, help="megabytes")
    options = parser.parse_args()
    ray = started_ray((options.size + 200) * 1_000_000)
    # Workers, journal and connections are there before.
    flow(name="warm-up", task_runner=RayTaskRunner())(read_by_many)(1)
    reply(flow_growth_bytes=flow(name="measured", task_runner=RayTaskRunner())(read_by_many)(options.size))
    ray.shutdown()
    leave_at_once()


if __name__ == "__main__":
    main()
