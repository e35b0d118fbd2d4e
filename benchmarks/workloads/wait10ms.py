"""Async tasks of 10 ms each in one flow: gathered by an async flow, or submitted by a sync one."""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks.workloads.reply import leave_at_once, reply
from flowyard import flow, task

SECONDS = 0.01


@task
async def wait(number: int) -> int:
    await asyncio.sleep(SECONDS)
    return number


@flow
async def gathered(tasks: int) -> int:
    return len(await asyncio.gather(*(wait(number) for number in range(tasks))))


@flow
def submitted(tasks: int) -> int:
    futures = [wait.submit(number) for number in range(tasks)]
    return len([future.result() for future in futures])


def run(mode: str, tasks: int) -> int:
    return asyncio.run(gathered(tasks)) if mode == "gathered" else submitted(tasks)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=("gathered", "submitted"), default="gathered")
    parser.add_argument("--tasks", type=int, default=1000)
    options = parser.parse_args()
    run(options.mode, 10)
    begin = time.perf_counter()
    returned = run(options.mode, options.tasks)
    call_seconds = time.perf_counter() - begin
    if returned != options.tasks:
        raise SystemExit(f"the flow returned {returned!r} values for {options.tasks} tasks")
    reply(tasks=options.tasks, call_seconds=call_seconds)
    leave_at_once()


if __name__ == "__main__":
    main()
