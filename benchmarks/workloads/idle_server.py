"""A server that has nothing to do: how long until it answers, and the memory that it takes.

Its database is a new one, or one that an earlier server has made.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.workloads import servers
from benchmarks.workloads.load import ask
from benchmarks.workloads.reply import reply

_IDLE_SECONDS = 3.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", choices=servers.DATABASES, default="sqlite")
    parser.add_argument("--migrated", action="store_true", help="with a database that an earlier server has made")
    options = parser.parse_args()
    home = Path(os.environ["FLOWYARD_HOME"])
    with ExitStack() as stack:
        engine = stack.enter_context(servers.postgresql()) if options.database == "postgresql" else None
        url = None if engine is None else engine.url
        if options.migrated:
            with servers.flowyard_server(home, url):
                pass
        server = stack.enter_context(servers.flowyard_server(home, url))
        begin = server.processor_seconds()
        first = server.resident_megabytes()
        # Nothing that it does has to do with the database yet.
        ask(server.url, "/flow_runs/filter", {})
        time.sleep(_IDLE_SECONDS)
        memory = server.resident_megabytes()
        idle_cpu = (server.processor_seconds() - begin) / _IDLE_SECONDS
    reply(
        start_seconds=server.start_seconds,
        start_cpu_seconds=begin,
        first_megabytes=first,
        idle_megabytes=memory,
        idle_cpu_share=idle_cpu,
    )


if __name__ == "__main__":
    main()
