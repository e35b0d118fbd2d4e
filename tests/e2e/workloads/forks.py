"""User code that forks, inside a flow and inside a task; the children call tasks and log."""

from __future__ import annotations

import multiprocessing
import warnings
from typing import Any

from flowyard import flow, get_run_logger, task

FORK = multiprocessing.get_context("fork")


@task
def one(number: int) -> int:
    return number


def work(place: str, answers: Any) -> None:
    """What the child does: as if nothing had happened."""
    get_run_logger().info("in the child")
    answers.put(f"child of {place}: {one(7)} {sum(one(number) for number in (1, 3, 5, 7))}")


def fork(place: str) -> None:
    answers = FORK.Queue()
    with warnings.catch_warnings():
        # Python 3.12 and later say that forking a process with threads is dangerous; that is what this is about.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = FORK.Process(target=work, args=(place, answers))
        child.start()
    print(answers.get(timeout=90), flush=True)
    child.join(90)
    assert child.exitcode == 0, child.exitcode


@task
def fork_in_task() -> None:
    fork("task")


@flow
def forking() -> int:
    total = one(1) + one(2)
    fork_in_task()
    fork("flow")
    return total + one(3) + one(4)


if __name__ == "__main__":
    print("result", forking())
