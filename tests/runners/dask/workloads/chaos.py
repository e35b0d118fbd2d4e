"""The flow that the tests of trouble on Dask kill: three layers of tasks, whose values stay on the workers.

Run as `chaos.py SCHEDULER FOLDER`: every task leaves a file in FOLDER when it begins and when it ends.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from flowyard import flow, task
from flowyard_dask import DaskTaskRunner

WIDTH = 8


def mark(folder: str, moment: str, name: str) -> None:
    # One file for each time: O_EXCL tells who was here before.
    number = 0
    while True:
        try:
            os.close(os.open(Path(folder, f"{moment}-{name}-{number}"), os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            number += 1
        else:
            return


@task
def make(folder: str, number: int) -> list[int]:
    mark(folder, "begin", f"make-{number}")
    time.sleep(0.01)
    mark(folder, "end", f"make-{number}")
    return [number] * 1_000


@task
def change(folder: str, values: list[int], number: int) -> list[int]:
    mark(folder, "begin", f"change-{number}")
    time.sleep(0.01)
    mark(folder, "end", f"change-{number}")
    return [value + 1 for value in values]


@task
def small(folder: str, number: int) -> int:
    mark(folder, "begin", f"small-{number}")
    mark(folder, "end", f"small-{number}")
    return number


@task
def total(folder: str, parts: list[list[int]], numbers: list[int]) -> int:
    mark(folder, "begin", "total-0")
    mark(folder, "end", "total-0")
    return sum(map(sum, parts)) + sum(numbers)


@flow(name="chaos")
def chaos(folder: str, crash_retries: int) -> int:
    made = [make.with_options(crash_retries=crash_retries).submit(folder, number) for number in range(WIDTH)]
    numbers = small.with_options(crash_retries=crash_retries).map(folder, range(2 * WIDTH), batch_size=4)
    changer = change.with_options(crash_retries=crash_retries)
    changed = [changer.submit(folder, values, number) for number, values in enumerate(made)]
    return total.with_options(crash_retries=crash_retries).submit(folder, changed, list(numbers)).result()


if __name__ == "__main__":
    address, where, retries = sys.argv[1:]
    print(chaos.with_options(task_runner=DaskTaskRunner(address=address))(where, int(retries)))
