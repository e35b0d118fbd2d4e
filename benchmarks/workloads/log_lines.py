"""Log lines: sent to a server as clients of Prefect 2 send them, recorded by a flow, and read from the end."""

from __future__ import annotations

import argparse
import json
import os
import time
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.workloads import filled, servers
from benchmarks.workloads.load import Request, ask, measured, send_all
from benchmarks.workloads.reply import reply
from benchmarks.workloads.servers import Program
from flowyard.schemas.runs import utcnow
from flowyard.store.database import open_database

BATCH = 500
"""Lines in a request: what Prefect 2's client gathers before it sends."""
CONNECTIONS = 4
PAGE = 200


def send(server: Program, lines: int) -> dict[str, float]:
    """Send lines of one flow run, many at a time."""
    flow = ask(server.url, "/flows/", {"name": "sent"})
    run = ask(server.url, "/flow_runs/", {"flow_id": flow["id"], "state": {"type": "RUNNING"}})
    begin = utcnow()
    body = [
        {
            "name": "prefect.flow_runs",
            "level": 20,
            "message": f"line {number}: forty characters or so",
            "timestamp": f"{begin + number * timedelta(milliseconds=1)}",
            "flow_run_id": run["id"],
        }
        for number in range(lines)
    ]
    requests = [Request("/logs/", body[first : first + BATCH]) for first in range(0, lines, BATCH)]
    before = server.processor_seconds()
    load = send_all(server.url, requests, CONNECTIONS)
    spent = server.processor_seconds() - before
    return {"sent_rate": lines / load.seconds, "sent_cpu_seconds": spent / lines}


def recorded(server: Program, home: Path, lines: int) -> dict[str, float]:
    """Log lines in a flow that reports to the server, until its end, when all of them are stored."""
    os.environ.update(FLOWYARD_API_URL=server.url, FLOWYARD_HOME=str(home / "client"), FLOWYARD_LOGGING_LEVEL="INFO")
    # Settings are read when flowyard is imported.
    from flowyard import flow, get_run_logger  # noqa: PLC0415
    from flowyard.process.backends import PROCESS  # noqa: PLC0415

    @flow
    def talkative(count: int) -> None:
        logger = get_run_logger()
        for number in range(count):
            logger.info("line %d: forty characters or so", number)

    talkative(10)
    before, cpu, begin = server.processor_seconds(), time.process_time(), time.perf_counter()
    state: Any = talkative(lines, return_state=True)
    seconds = time.perf_counter() - begin
    spent = time.process_time() - cpu + server.processor_seconds() - before
    own = {
        "logs": {"flow_run_id": {"any_": [str(state.state_details.flow_run_id)]}},
        "limit": PAGE,
        "offset": lines - 5,
    }
    found = [line for line in ask(server.url, "/logs/filter", own) if line["message"].startswith("line ")]
    PROCESS.close()
    if not found:
        raise SystemExit(f"the server has not all of {lines} lines")
    return {"recorded_rate": lines / seconds, "recorded_cpu_seconds": spent / lines}


def read_tail(server: Program, flow_run_id: UUID, requests: int) -> dict[str, float]:
    """Read the last lines of a flow run, and then what came before them; of all levels, and errors alone."""
    all_levels = {"flow_run_id": {"any_": [f"{flow_run_id}"]}}
    errors = {**all_levels, "level": {"ge_": 40}}
    values: dict[str, float] = {}
    for name, where in (("tail", all_levels), ("errors", errors)):
        bodies = [
            {
                "logs": where,
                "sort": "TIMESTAMP_DESC",
                "limit": PAGE,
                "offset": number % 3 * PAGE if name == "tail" else 0,
            }
            for number in range(requests + 5)
        ]
        send_all(server.url, [Request("/logs/filter", body) for body in bodies[:5]])
        load = send_all(server.url, [Request("/logs/filter", body) for body in bodies[5:]])
        if any(len(json.loads(answer)) == 0 for answer in load.answers):
            raise SystemExit("lines were expected")
        values |= measured(load, name)
    return values


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stored", type=int, default=1_000_000, help="lines of a run that is there before")
    parser.add_argument("--lines", type=int, default=50_000, help="lines that are sent")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--database", choices=servers.DATABASES, default="sqlite")
    options = parser.parse_args()
    home = Path(os.environ["FLOWYARD_HOME"])
    with ExitStack() as stack:
        engine = stack.enter_context(servers.postgresql()) if options.database == "postgresql" else None
        url = f"sqlite:///{home / 'flowyard.db'}" if engine is None else engine.url
        with closing(open_database(url)) as database:
            flow_run_id = filled.fill_logs(database, options.stored)
        server = stack.enter_context(servers.flowyard_server(home, None if engine is None else url))
        values = read_tail(server, flow_run_id, options.requests)
        values |= send(server, options.lines)
        values |= recorded(server, home, options.lines)
    reply(**values)


if __name__ == "__main__":
    main()
