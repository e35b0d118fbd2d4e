"""A flow for a disk that gets full: tasks that leave long lines in the log.

Its first argument says how the room ends: `file-size` (RLIMIT_FSIZE, from the second task on), `pages` (SQLite's
max_page_count, likewise), `none` (the file system itself). With `--again` room is made afterwards and the same flow
runs a second time in the same process.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

from flowyard import flow, get_run_logger, runtime, task
from flowyard.exceptions import RecordsNotDurable
from flowyard.process.backends import PROCESS
from flowyard.settings import FLOWYARD_HOME
from flowyard.store.dialects import SQLite
from flowyard.store.plain import PlainConnection

ROOM = 200_000
PAGE = 4_096


@task
def write(number: int) -> int:
    get_run_logger().info("%d %s", number, 2_000 * "x")
    return number


@flow
def filling(kind: str, tasks: int) -> int:
    print(f"run {runtime.flow_run.id}", flush=True)
    done = 0
    for number in range(tasks):
        done += write(number)
        if number == 0:
            # What comes before is on disk; from here on there is little room.
            PROCESS.backend().journal.flush()
            print("durable", flush=True)
            limit(kind)
    return done


def limit(kind: str) -> None:
    database = FLOWYARD_HOME.value() / "flowyard.db"
    if kind == "file-size":
        # The write-ahead log grows first.
        size = max(file.stat().st_size for file in (database, Path(f"{database}-wal")))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + ROOM, resource.RLIM_INFINITY))
    elif kind == "pages":
        most[0] = database.stat().st_size // PAGE + ROOM // PAGE


def make_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    most[0] = 1_000_000_000


most = [1_000_000_000]


def limit_pages(self: SQLite, connection: PlainConnection, **options: Any) -> None:
    connection.execute(f"PRAGMA max_page_count={most[0]}")
    begin_write(self, connection, **options)


begin_write = SQLite.begin_write

if __name__ == "__main__":
    SQLite.begin_write = limit_pages
    try:
        filling(sys.argv[1], 2_000)
    except RecordsNotDurable as error:
        if "--again" not in sys.argv:
            raise
        print(f"refused {error.records} {error.flow_run_ids}", flush=True)
        make_room()
        print(filling("none", 10))
