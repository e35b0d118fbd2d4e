"""A slot of a concurrency limit that goes from process to process: how long after it is free the next one has it.

Two processes take turns with a limit of one: while one holds the slot the other one waits for it. Timed is from just
before the slot is given back until the one that waits goes on, on the machine's clock that all processes share.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from benchmarks.workloads import servers
from benchmarks.workloads.reply import reply

LIMIT = "benchmark"
_HOLD_SECONDS = 0.05
_AFTER_SECONDS = 0.01
"""Before a process that has given its slot back asks again; the slot is the other one's."""


class Turn(NamedTuple):
    """One time that a process had the slot."""

    asked: float
    granted: float
    freed: float


def take_turns(turns: int) -> None:
    """Have the slot so many times, once a line on standard input says to begin."""
    from flowyard.concurrency.sync import concurrency  # noqa: PLC0415  read by the processes that take turns alone

    with concurrency(LIMIT):
        print("ready", flush=True)
    sys.stdin.readline()
    taken: list[Turn] = []
    for _ in range(turns):
        asked = time.monotonic()
        with concurrency(LIMIT):
            granted = time.monotonic()
            time.sleep(_HOLD_SECONDS)
            freed = time.monotonic()
        taken.append(Turn(asked, granted, freed))
        time.sleep(_AFTER_SECONDS)
    print(json.dumps(taken), flush=True)


def hand_overs(processes: list[list[Turn]]) -> list[float]:
    """Return the seconds of each time that one process had to wait for another one."""
    turns = sorted((turn.granted, number, turn) for number, taken in enumerate(processes) for turn in taken)
    return [
        turn.granted - before.freed
        for (_, giver, before), (_, taker, turn) in pairwise(turns)
        if giver != taker and turn.asked < before.freed
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=100, help="of each of the two processes")
    parser.add_argument("--through", choices=("file", *servers.DATABASES), default="file")
    parser.add_argument("--take-turns", action="store_true", help="be one of the two")
    options = parser.parse_args()
    if options.take_turns:
        take_turns(options.turns)
        return
    home = Path(os.environ["FLOWYARD_HOME"])
    with ExitStack() as stack:
        environment = dict(os.environ)
        if options.through != "file":
            place = stack.enter_context(servers.serving("flowyard", home, options.through))
            environment |= {"FLOWYARD_API_URL": place.url, "FLOWYARD_HOME": str(home / "client")}
        limit = [sys.executable, "-m", "flowyard.cli", "gcl", "create", LIMIT, "--limit", "1"]
        subprocess.run(limit, env=environment, check=True, stdout=subprocess.DEVNULL)
        command = [sys.executable, "-m", "benchmarks.workloads.handover", "--take-turns", "--turns", f"{options.turns}"]
        processes = [
            subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise SystemExit("a process ended before it was ready")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        taken = [[Turn(*turn) for turn in json.loads(process.communicate()[0])] for process in processes]
    seconds = sorted(hand_overs(taken))
    if len(seconds) < options.turns:
        raise SystemExit(f"the slot changed hands {len(seconds)} times only")
    p50, p99 = (seconds[int(share * len(seconds))] * 1000 for share in (0.5, 0.99))
    reply(hand_overs=len(seconds), slot_p50=p50, slot_p99=p99)


if __name__ == "__main__":
    main()
