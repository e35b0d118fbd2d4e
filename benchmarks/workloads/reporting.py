"""No-op tasks in a flow that reports to a server on this machine: until all of it is on the server's disk.

The end of a flow run is a barrier, so what the call took is what recording all of it took.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.workloads import servers
from benchmarks.workloads.reply import reply


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=("sequential", "submitted", "mapped"), default="sequential")
    parser.add_argument("--tasks", type=int, default=5000)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    options = parser.parse_args()
    home = Path(os.environ["FLOWYARD_HOME"])
    with ExitStack() as stack:
        database = stack.enter_context(servers.postgresql()) if options.database == "postgresql" else None
        url = stack.enter_context(servers.flowyard_server(home, database))
        os.environ.update(FLOWYARD_API_URL=url, FLOWYARD_HOME=str(home / "client"))
        # Settings are read when flowyard is imported.
        from benchmarks.workloads import noop  # noqa: PLC0415
        from flowyard.process.backends import PROCESS  # noqa: PLC0415

        measured: Any = noop.library.flow(noop.MODES[options.mode])
        noop.library.flow(noop.MODES[options.mode], name="warm-up")(noop.WARM_UP_TASKS)
        cpu, begin = time.process_time(), time.perf_counter()
        state = measured(options.tasks, return_state=True)
        call_seconds = time.perf_counter() - begin
        cpu = time.process_time() - cpu
        backend = PROCESS.backend()
        counts = backend.control.task_run_counts(state.state_details.flow_run_id)
        if sum(counts.values()) != options.tasks or {name for _, name in counts} != {"Completed"}:
            raise SystemExit(f"the server has {counts}, and {options.tasks} completed task runs were expected")
        PROCESS.close()
    reply(tasks=options.tasks, call_seconds=call_seconds, process_cpu_seconds=cpu)


if __name__ == "__main__":
    main()
