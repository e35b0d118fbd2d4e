"""Many processes that write into one SQLite file at once, begun together on a home that does not exist yet."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.workloads.reply import REPLY_VARIABLE, reply

COMPLAINTS = ("database is locked", "OperationalError", "Traceback")


def begin_process(place: int, tasks: int) -> subprocess.Popen[str]:
    own_reply = Path(os.environ[REPLY_VARIABLE]).with_suffix(f".{place}")
    command = [sys.executable, "-m", "benchmarks.workloads.noop", "--wait-for-start", "--no-warm-up", "--tasks"]
    return subprocess.Popen(
        [*command, str(tasks)],
        env={**os.environ, REPLY_VARIABLE: str(own_reply)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    while line := process.stdout.readline():
        if line.strip() == "ready":
            return
    raise SystemExit("a process ended before it was ready")


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate()
    return process.returncode, output


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=16)
    parser.add_argument("--tasks", type=int, default=1000)
    options = parser.parse_args()
    processes = [begin_process(place, options.tasks) for place in range(options.processes)]
    for process in processes:
        wait_until_ready(process)
    begin = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    with ThreadPoolExecutor(options.processes) as pool:
        ends = list(pool.map(finish, processes))
    call_seconds = time.perf_counter() - begin
    for code, output in ends:
        if code or any(complaint in output for complaint in COMPLAINTS):
            print(output, file=sys.stderr)
            raise SystemExit(f"a process ended with code {code} and said: {output[-2000:]}")
    reply(tasks=options.tasks * options.processes, call_seconds=call_seconds)


if __name__ == "__main__":
    main()
