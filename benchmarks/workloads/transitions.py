"""Flow runs that are made and moved to Running by requests on several connections, as a client of Prefect 2 does it."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.workloads import servers
from benchmarks.workloads.load import Load, Request, ask, send_all
from benchmarks.workloads.reply import reply
from benchmarks.workloads.servers import Place

LIBRARY = os.environ.get("FLOWYARD_BENCHMARK_LIBRARY", "flowyard")
WARM_UP_RUNS = 16


def creation(flow_id: str, number: int) -> Request:
    """Return what Prefect 2's client sends to make a flow run."""
    body: dict[str, Any] = {
        "state": {
            "type": "PENDING",
            "name": "Pending",
            "message": None,
            "data": None,
            "state_details": {"cache_key": None, "refresh_cache": False, "transition_id": str(uuid4())},
        },
        "name": f"steady-otter-{number}",
        "flow_id": flow_id,
        "flow_version": "d41d8cd98f00b204e9800998ecf8427e",
        "parameters": {"number": number, "name": "otter"},
        "context": {},
        "parent_task_run_id": None,
        "empirical_policy": {"retries": 0, "retry_delay": 0, "pause_keys": [], "resuming": False},
        "tags": ["benchmark", f"tag-{number % 20}"],
        "idempotency_key": None,
    }
    return Request("/flow_runs/", body)


def running(flow_run_id: str) -> Request:
    """Return what Prefect 2's client sends to say that a flow run runs."""
    details = {"flow_run_id": flow_run_id, "transition_id": str(uuid4())}
    state = {"type": "RUNNING", "name": "Running", "message": None, "data": None, "state_details": details}
    return Request(f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": False})


def create(url: str, runs: int, connections: int) -> Load:
    """Make flow runs."""
    flow = ask(url, "/flows/", {"name": "transitions"})
    return send_all(url, [creation(flow["id"], number) for number in range(runs)], connections)


def run_all(url: str, made: Load, connections: int) -> Load:
    """Move flow runs that were made to Running."""
    entered = send_all(url, [running(json.loads(answer)["id"]) for answer in made.answers], connections)
    verdicts = {json.loads(answer)["status"] for answer in entered.answers}
    if verdicts != {"ACCEPT"}:
        raise SystemExit(f"the server answers {verdicts} to the state Running")
    return entered


def counted(place: Place, before: dict[str, float], load: Load, name: str) -> dict[str, float]:
    """Return what is said of a load: its time, and the processor time that it took on the server."""
    spent = sum(place.processor_seconds().values()) - sum(before.values())
    return {f"{name}_rate": load.rate, f"{name}_cpu_seconds": spent / len(load.each)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--database", choices=servers.DATABASES, default="sqlite")
    parser.add_argument("--binaries", default="", help="folder of the programs of PostgreSQL")
    options = parser.parse_args()
    home = Path(os.environ["FLOWYARD_HOME"])
    with servers.serving(LIBRARY, home, options.database, options.binaries) as place:
        run_all(place.url, create(place.url, WARM_UP_RUNS, options.connections), options.connections)
        before = place.processor_seconds()
        made = create(place.url, options.runs, options.connections)
        values = counted(place, before, made, "create")
        before = place.processor_seconds()
        entered = run_all(place.url, made, options.connections)
        values |= counted(place, before, entered, "set_state")
        where = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
        count = ask(place.url, "/flow_runs/count", where)
        if count != options.runs + WARM_UP_RUNS:
            raise SystemExit(f"the server has {count} running flow runs, and {options.runs} were expected")
    reply(runs=options.runs, **values)


if __name__ == "__main__":
    main()
