"""Flowyard on Dask against raw Dask, in one run: `python -m benchmarks.dask_cases`.

Repeats alternate between the two on one cluster of two workers, so that what else the machine does hits both. Each
figure is a median; the last column is their ratio, which is what the targets are about.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from distributed import Client, LocalCluster

from flowyard import flow, task
from flowyard_dask import DaskTaskRunner


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


@dataclass(frozen=True)
class Case:
    name: str
    work: Callable[[int], int]
    count: int
    is_batched: bool
    target: str


CASES = {
    "sleep": Case("tasks that sleep 10 ms, `.submit()`: wall time over raw", sleep_10ms, 2_000, False, "at most 1.15"),
    "noop": Case("no-op tasks, `.submit()`: tasks a second over raw", noop, 5_000, False, "at least 0.7"),
    "batch": Case("tasks of 1 ms, `.map(batch_size='auto')`: over raw", busy_1ms, 10_000, True, "at least 3"),
}


def raw_seconds(cluster: Any, case: Case, count: int) -> float:
    client: Any
    with Client(cluster, set_as_default=False) as client:
        started = time.perf_counter()
        futures = [client.submit(case.work, number, pure=False) for number in range(count)]
        client.gather(futures)
        return time.perf_counter() - started


def flowyard_seconds(cluster: Any, case: Case, count: int) -> float:
    work = task(case.work)

    @flow(task_runner=DaskTaskRunner(cluster=cluster))
    def run() -> float:
        started = time.perf_counter()
        futures: Any
        if case.is_batched:
            futures = work.map(range(count), batch_size="auto")
        else:
            futures = [work.submit(number) for number in range(count)]
        for future in futures:
            future.result()
        return time.perf_counter() - started

    return run()


def measure(cluster: Any, case: Case, count: int, repeats: int) -> tuple[float, float]:
    raw: list[float] = []
    ours: list[float] = []
    raw_seconds(cluster, case, min(count, 100))
    flowyard_seconds(cluster, case, min(count, 100))
    for repeat in range(repeats):
        pair = [(raw, raw_seconds), (ours, flowyard_seconds)]
        for figures, seconds in pair if repeat % 2 == 0 else reversed(pair):
            figures.append(seconds(cluster, case, count))
        print(f"  raw {raw[-1]:.2f} s, Flowyard {ours[-1]:.2f} s", flush=True)
    return statistics.median(raw), statistics.median(ours)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=list(CASES), help=f"of: {', '.join(CASES)}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the number of tasks")
    options = parser.parse_args()
    os.environ.setdefault("FLOWYARD_HOME", tempfile.mkdtemp(prefix="flowyard-bench-"))
    os.environ.setdefault("FLOWYARD_LOGGING_LEVEL", "WARNING")
    rows: list[str] = []
    made: Any = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with made as cluster:
        for name in options.cases:
            case = CASES[name]
            count = int(case.count * options.scale)
            print(f"{count} {case.name}", flush=True)
            raw, ours = measure(cluster, case, count, options.repeats)
            ratio = ours / raw if name == "sleep" else raw / ours
            rows.append(f"{count} {case.name}: raw {raw:.2f} s, Flowyard {ours:.2f} s, {ratio:.2f} ({case.target})")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
