"""Processes that compete for the slots of one limit: never more than there are, in turn, whatever gets lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowyard.process.control import control_plane
from flowyard.schemas.limits import ConcurrencyLimit
from flowyard.settings import get_current_settings

SLOTS, PROCESSES, THREADS = 2, 4, 3
SCRIPT = """
import os, sys, threading
from flowyard.concurrency.sync import concurrency
from flowyard.store import bells

path, rounds, is_lossy = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "lossy"
if is_lossy:
    bells.SocketBell.tell_others = lambda self, lease_ids: None
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def work():
    for _ in range(rounds):
        with concurrency("contended-" + sys.argv[3]):
            os.write(file, b"+\\n")
            os.write(file, b"-\\n")

threads = [threading.Thread(target=work) for _ in range(int(sys.argv[4]))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("kind", "rounds"), [("heard", 6), ("lossy", 2)], ids=["wakes-are-heard", "every-wake-is-lost"]
)
def test_never_more_hold_slots_than_there_are_and_everybody_gets_a_turn(
    records: Any, tmp_path: Path, kind: str, rounds: int
) -> None:
    del records
    control_plane().limits.create(ConcurrencyLimit(name=f"contended-{kind}", limit=SLOTS))
    path = tmp_path / "turns"
    environment = {**os.environ, "FLOWYARD_HOME": str(get_current_settings().FLOWYARD_HOME)}
    command = [sys.executable, "-c", SCRIPT, str(path), str(rounds), kind, str(THREADS)]
    processes = [subprocess.Popen(command, env=environment) for _ in range(PROCESSES)]
    assert [process.wait(200) for process in processes] == [0] * PROCESSES
    held = most = 0
    for turn in path.read_text().split():
        held += 1 if turn == "+" else -1
        most = max(most, held)
    assert (held, path.read_text().count("+")) == (0, PROCESSES * THREADS * rounds)
    assert 1 <= most <= SLOTS
    limit = control_plane().limits.read(f"contended-{kind}")
    assert (limit.active_slots, limit.denied_slots) == (0, 0)
