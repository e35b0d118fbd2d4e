"""A flow that reports to a server for some seconds: tasks, retries, a subflow, log lines. Prints how it ended."""

from __future__ import annotations

import sys
import time

from flowyard import flow, get_run_logger, task

TASKS = 60
LINES = 5


@task
def work(number: int) -> int:
    time.sleep(0.1)
    return number


@task(retries=1)
def fickle(attempts: list[int]) -> int:
    attempts.append(1)
    if len(attempts) == 1:
        raise ValueError("the first time")
    return 1


@flow
def part(count: int) -> int:
    return sum(work(number) for number in range(count))


@flow(name="reporting")
def reporting() -> int:
    logger = get_run_logger()
    attempts: list[int] = []
    print("begun", flush=True)
    for number in range(LINES):
        logger.info("line %d", number)
        part(TASKS // LINES)
    return fickle(attempts)


if __name__ == "__main__":
    state = reporting(return_state=True)
    sys.stdout.write(f"{state.state_details.flow_run_id} {state.name}\n")
