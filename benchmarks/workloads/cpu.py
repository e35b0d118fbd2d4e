"""CPU-bound tasks on a process runner, against the same work done in this process.

The speed-up is taken inside one process: the work alone, then the same work through the runner (or through
`concurrent.futures`, which bounds what a runner can reach on this machine).
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.workloads.reply import reply
from flowyard import flow, task
from flowyard.task_runners import ProcessPoolTaskRunner

WORKERS = 2


def work(rounds: int) -> int:
    total = 0
    for number in range(rounds):
        total = (total * 31 + number) % 1_000_003
    return total


work_task = task(name="work")(work)


@flow(task_runner=ProcessPoolTaskRunner(max_workers=WORKERS))
def with_runner(tasks: int, rounds: int) -> float:
    for future in [work_task.submit(10) for _ in range(2 * WORKERS)]:  # the workers have started
        future.result()
    begin = time.perf_counter()
    for future in [work_task.submit(rounds) for _ in range(tasks)]:
        future.result()
    return time.perf_counter() - begin


def with_executor(tasks: int, rounds: int) -> float:
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        list(pool.map(work, [10] * 2 * WORKERS))
        begin = time.perf_counter()
        for future in [pool.submit(work, rounds) for _ in range(tasks)]:
            future.result()
        return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--subject", choices=("runner", "executor"), default="runner")
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1_000_000)
    options = parser.parse_args()
    begin = time.perf_counter()
    for _ in range(options.tasks):
        work(options.rounds)
    alone = time.perf_counter() - begin
    together = (with_runner if options.subject == "runner" else with_executor)(options.tasks, options.rounds)
    reply(tasks=options.tasks, alone_seconds=alone, call_seconds=together, speed_up=alone / together)


if __name__ == "__main__":
    main()
