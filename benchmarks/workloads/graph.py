"""A dependency graph: layers of tasks, each with three upstreams in the layer before."""

from __future__ import annotations

import argparse
import time

from benchmarks.workloads.reply import leave_at_once, reply
from flowyard import flow, task

UPSTREAM_OFFSETS = (0, 1, 7)


@task
def source(number: int) -> int:
    return number


@task
def combine(first: int, second: int, third: int) -> int:
    return first + second + third


@flow
def layered(layers: int, width: int) -> int:
    futures = [source.submit(number) for number in range(width)]
    for _ in range(layers - 1):
        futures = [
            combine.submit(*(futures[(place + offset) % width] for offset in UPSTREAM_OFFSETS))
            for place in range(width)
        ]
    return sum(future.result() for future in futures)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=100)
    options = parser.parse_args()
    layered.with_options(name="warm-up")(2, 10)
    begin = time.perf_counter()
    total = layered(options.layers, options.width)
    call_seconds = time.perf_counter() - begin
    expected = sum(range(options.width)) * len(UPSTREAM_OFFSETS) ** (options.layers - 1)
    if total != expected:
        raise SystemExit(f"the graph returned {total!r}, not {expected}")
    reply(tasks=options.layers * options.width, call_seconds=call_seconds)
    leave_at_once()


if __name__ == "__main__":
    main()
