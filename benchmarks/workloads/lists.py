"""What a dashboard asks a server that has recorded for a month: a list of runs with filters, and its charts.

The database is filled through the store before the server starts. Each question is asked many times, one after another
on one connection, each time a little differently; timed is from the request until the last byte of the answer.
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from benchmarks.workloads import filled, servers
from benchmarks.workloads.load import Load, Request, measured, send_all
from benchmarks.workloads.reply import reply
from flowyard.schemas.runs import utcnow
from flowyard.store.database import open_database

PAGE = 200
_WARM_UP = 5


def lists(number: int) -> dict[str, Request]:
    """Return the lists of flow runs that are asked for, the newest first."""
    kinds = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    tags = {"tag": f"tag-{number % filled.TAGS}", "rare_tag": "rare"}
    kind = {"tag": kinds[number % 2], "rare_tag": "COMPLETED"}
    return {
        name: _post(
            "/flow_runs/filter",
            flow_runs={"tags": {"all_": [tag]}, "state": {"type": {"any_": [kind[name]]}}},
            sort="START_TIME_DESC",
            limit=PAGE,
        )
        for name, tag in tags.items()
    }


def charts(number: int) -> dict[str, Request]:
    """Return the charts over all flow runs: what the pages of a dashboard begin with."""
    end = utcnow()
    period = {"history_start": f"{end - filled.PERIOD}", "history_end": f"{end}"}
    day = {"start_time": {"after_": f"{end - timedelta(days=1, minutes=number)}"}}
    one_tag = {"tags": {"all_": [f"tag-{number % filled.TAGS}"]}}
    return {
        "history": _post("/flow_runs/history", **period, history_interval_seconds=86_400),
        "history_of_tag": _post("/flow_runs/history", **period, history_interval_seconds=86_400, flow_runs=one_tag),
        "states": _post("/flow_runs/count-by-state"),
        "count": _post("/flow_runs/count", flow_runs={"state": {"type": {"any_": ["FAILED", "CRASHED"]}}}),
        "points": _post("/ui/flow_runs/history", flow_runs=day, sort="START_TIME_DESC", limit=1000),
        "lateness": _post("/flow_runs/lateness", flow_runs=day),
    }


def charts_of(flow_run_id: UUID, number: int) -> dict[str, Request]:
    """Return the charts of one flow run: its task runs over time, by state and by task."""
    begin = utcnow() - timedelta(hours=2, seconds=number)
    own = {"id": {"any_": [f"{flow_run_id}"]}}
    period = {"history_start": f"{begin}", "history_end": f"{begin + timedelta(hours=2)}"}
    return {
        "task_history": _post("/task_runs/history", **period, history_interval_seconds=240, flow_runs=own),
        "task_states": _post("/ui/task_runs/count", flow_runs=own),
        "task_counts": _post("/ui/task_runs/dashboard/counts", task_runs={"start_time": {"after_": f"{begin}"}}),
        "tasks": _post("/task_runs/count-by-task", flow_run_id=f"{flow_run_id}"),
        "task_list": _post("/task_runs/filter", flow_runs=own, sort="EXPECTED_START_TIME_DESC", limit=PAGE),
    }


def _post(path: str, **body: Any) -> Request:
    return Request(path, body)


def check(name: str, load: Load, runs: int) -> None:
    """Make sure that lists have something in them: an empty answer is a quick one."""
    if name == "tag" and runs >= filled.TAGS * PAGE * 20 and len(json.loads(load.answers[0])) != PAGE:
        raise SystemExit(f"a list of {PAGE} flow runs was expected")
    if not any(len(answer) > len("[]") for answer in load.answers) and name not in ("count", "lateness"):
        raise SystemExit(f"all answers of {name!r} are empty")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--database", choices=servers.DATABASES, default="sqlite")
    options = parser.parse_args()
    home = Path(os.environ["FLOWYARD_HOME"])
    values: dict[str, float] = {}
    with ExitStack() as stack:
        engine = stack.enter_context(servers.postgresql()) if options.database == "postgresql" else None
        url = f"sqlite:///{home / 'flowyard.db'}" if engine is None else engine.url
        with closing(open_database(url)) as database:
            filled.fill_flow_runs(database, options.runs)
            flow_run_id = filled.fill_task_runs(database, options.tasks)
        server = stack.enter_context(servers.flowyard_server(home, None if engine is None else url))
        asked = [
            {**lists(number), **charts(number), **charts_of(flow_run_id, number)}
            for number in range(_WARM_UP + options.requests)
        ]
        for name in asked[0]:
            before = server.processor_seconds()
            send_all(server.url, [some[name] for some in asked[:_WARM_UP]])
            load = send_all(server.url, [some[name] for some in asked[_WARM_UP:]])
            check(name, load, options.runs)
            values |= measured(load, name)
            values[f"{name}_cpu"] = (server.processor_seconds() - before) / len(asked) * 1000
    reply(**values)


if __name__ == "__main__":
    main()
