"""A flow of so many small tasks, each with a log line. It starts when a line comes on standard input."""

from __future__ import annotations

import sys

from flowyard import flow, get_run_logger, task


@task
def number(value: int) -> int:
    get_run_logger().info("line %d", value)
    return value


@flow
def total(count: int) -> int:
    return sum(number(value) for value in range(count))


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    print(total(int(sys.argv[1])))
