"""No-op tasks in a flow that reports to a server on this machine: until all of it is on the server's disk.

The end of a flow run is a barrier, so what the call took is what recording all of it took; for Prefect 2, which waits
for each state, too.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.workloads import servers
from benchmarks.workloads.load import ask
from benchmarks.workloads.reply import reply

LIBRARY = os.environ.get("FLOWYARD_BENCHMARK_LIBRARY", "flowyard")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=("sequential", "submitted", "mapped"), default="sequential")
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--database", choices=servers.DATABASES, default="sqlite")
    parser.add_argument("--binaries", default="", help="folder of the programs of PostgreSQL")
    options = parser.parse_args()
    home = Path(os.environ["FLOWYARD_HOME"])
    with servers.serving(LIBRARY, home, options.database, options.binaries) as place:
        os.environ.update(FLOWYARD_API_URL=place.url, PREFECT_API_URL=place.url)
        os.environ.update(FLOWYARD_HOME=str(home / "client"), PREFECT_HOME=str(home / "client"))
        # Settings are read when the library is imported.
        from benchmarks.workloads import noop  # noqa: PLC0415

        measured: Any = noop.library.flow(noop.MODES[options.mode])
        noop.library.flow(noop.MODES[options.mode], name="warm-up")(noop.WARM_UP_TASKS)
        before, cpu, begin = place.processor_seconds(), time.process_time(), time.perf_counter()
        state = measured(options.tasks, return_state=True)
        call_seconds = time.perf_counter() - begin
        cpu, after = time.process_time() - cpu, place.processor_seconds()
        where = {
            "flow_runs": {"id": {"any_": [str(state.state_details.flow_run_id)]}},
            "task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        }
        count = ask(place.url, "/task_runs/count", where)
        if count != options.tasks:
            raise SystemExit(f"the server has {count} completed task runs, and {options.tasks} were expected")
        if LIBRARY == "flowyard":
            from flowyard.process.backends import PROCESS  # noqa: PLC0415

            PROCESS.close()
    spent = {name: after[name] - before[name] for name in after}
    reply(tasks=options.tasks, call_seconds=call_seconds, process_cpu_seconds=cpu, **spent)


if __name__ == "__main__":
    main()
