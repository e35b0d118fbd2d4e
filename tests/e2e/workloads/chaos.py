"""A flow to be killed: subflows, retries, dependencies and maps, on the runner that its first argument names.

What the test needs to know goes to standard output, a line each, written with one system call:

    begin NAME PID      a task's function starts (or starts again)
    end NAME PID        it is about to return
    kept KIND ID ...    the state backend has said that this is on disk: `state ID`, or `task_run ID` with its state

With `--only-count` it prints how many `begin` and `end` lines a run of it has.
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

from flowyard import flow, get_run_logger, runtime, task
from flowyard.process.backends import PROCESS
from flowyard.task_runners import ConcurrentTaskRunner, SequentialTaskRunner
from flowyard.task_runners.process import ProcessPoolTaskRunner

RUNNERS = {
    "sequential": SequentialTaskRunner,
    "concurrent": lambda: ConcurrentTaskRunner(max_workers=4),
    "process": lambda: ProcessPoolTaskRunner(max_workers=2),
}
ITEMS = 8
LAST = "last"


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def kept(flow: Any, flow_run: Any, state: Any) -> None:
    say("kept", "state", state.id)


def flush(*futures: Any) -> None:
    """Make everything durable, and say so."""
    states = [future.get_state() for future in futures if future.get_state() is not None]
    PROCESS.backend().journal.flush()
    for state in states:
        say("kept", "task-state", state.id, state.state_details.task_run_id)


class Marked:
    """The block in which a task does its work."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        say("begin", self.name, os.getpid())

    def __exit__(self, *_: object) -> None:
        say("end", self.name, os.getpid())


def busy(name: str, attempt: int = 0) -> None:
    """Take up to 6 ms, always as long for the same name, so that a seed hits the same place again."""
    time.sleep(random.Random(f"{name}/{attempt}").random() * 0.006)


@task
def first() -> int:
    with Marked("first"):
        busy("first")
    return 1


@task(log_prints=True)
def double(number: int) -> int:
    with Marked(f"double-{number}"):
        print(f"doubling {number}")
        busy(f"double-{number}")
    return 2 * number


@task(retries=2, retry_delay_seconds=0.005)
def fickle(number: int) -> int:
    attempt: Any = runtime.task_run.run_count
    with Marked(f"fickle-{number}/{attempt}"):
        busy(f"fickle-{number}", attempt)
    if number % 3 == 0 and attempt < 3:
        raise OSError(f"attempt {attempt} of item {number} failed")
    return number


@task(name="sum")
def add_up(numbers: list[int]) -> int:
    with Marked("sum"):
        get_run_logger().info("adding up %d numbers", len(numbers))
        busy("sum")
    return sum(numbers)


@task
def last(*numbers: int) -> int:
    with Marked(LAST):
        busy(LAST)
    return sum(numbers)


@flow(on_running=[kept], on_completion=[kept])
def child(number: int) -> int:
    doubled = double.map(list(range(number, number + 3)))
    return add_up([future.result() for future in doubled])


@flow(on_running=[kept], on_completion=[kept], retries=1)
def parent(start: int = 100) -> int:
    say("kept", "state", runtime_state_id())
    one = first.submit()
    numbers = [one.result() + number for number in range(ITEMS)]
    futures = fickle.map(numbers)
    in_first_half = child(start)
    flush(one, *futures)
    total = add_up.submit(futures)
    seconds = [double(number) for number in (1_000, 1_001)]
    flush(total, *futures)
    in_second_half = child(start + 50)
    return last(in_first_half, in_second_half, total.result(), *seconds)


def runtime_state_id() -> object:
    """Return the id of the flow run's present state: Running, which is on disk before the function is called."""
    from flowyard.context import current

    here = current().flow_run
    assert here is not None
    assert here.flow_run.state is not None
    return here.flow_run.state.id


if __name__ == "__main__":
    runner: Any = RUNNERS[sys.argv[1]]()
    print(parent.with_options(task_runner=runner)(), flush=True)
