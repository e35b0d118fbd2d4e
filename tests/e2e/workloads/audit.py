"""Look through a state database for anything that contradicts itself: `python audit.py DATABASE`.

It reads with sqlite3 alone, so that a defect of Flowyard's own reading hides nothing. Prints a line for each problem
and ends with exit code 1 if there is one. `problems_of` is the same for tests.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

# The states of one attempt of a flow run, in order; a task run of a run that was killed can end after any of them. A
# state that the reaper adds is Crashed.
_LIFE = re.compile(
    r"((Pending|NotReady) )?"
    r"(Running ((AwaitingRetry|Retrying|Running) )*)?"
    r"((Completed|Failed|TimedOut|Crashed|Cancelled|Cached) )?"
)
# With workers that die, what was lost is done again: a call that crashed, and one that completed and left no value.
_LIFE_WITH_LOSSES = re.compile(
    r"((Pending|NotReady) )?"
    r"(Running ((AwaitingRetry|Retrying|Running|Crashed|Completed) )*)?"
    r"((Crashed|Completed) (Running ((AwaitingRetry|Retrying|Running) )*)?)*"
    r"((Completed|Failed|TimedOut|Crashed|Cancelled|Cached|NotReady) )?"
)
_FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


def problems_of(database: Path, *, with_losses: bool = False) -> list[str]:
    """Return a sentence for each contradiction; an empty list is what everybody hopes for.

    `with_losses`: tasks were done again within their `crash_retries`.
    """
    # Not read-only: what is only in the write-ahead log of a dead process is read like the rest.
    with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.row_factory = sqlite3.Row
        return list(_problems(connection, with_losses))


def _problems(connection: sqlite3.Connection, with_losses: bool) -> Iterator[str]:
    for (answer,) in connection.execute("PRAGMA integrity_check"):
        if answer != "ok":
            yield f"integrity_check: {answer}"
    yield from _dangling(connection)
    yield from _wrong_counts(connection)
    for kind in ("flow_run", "task_run"):
        yield from _wrong_states(connection, kind, with_losses)
    yield from _wrong_order(connection)


def _dangling(connection: sqlite3.Connection) -> Iterator[str]:
    references = (
        ("flow_run", "flow_id", "flow"),
        ("flow_run_state", "flow_run_id", "flow_run"),
        ("flow_run", "parent_task_run_id", "task_run"),
        ("task_run", "flow_run_id", "flow_run"),
        ("task_run_state", "task_run_id", "task_run"),
        ("rollup", "flow_run_id", "flow_run"),
        ("log", "task_run_id", "task_run"),
    )
    for table, column, target in references:
        # Lines and tasks outside of flow runs have none.
        query = (
            f"SELECT count(*) FROM {table} WHERE {column} IS NOT NULL AND {column} <> zeroblob(16) "
            f"AND {column} NOT IN (SELECT id FROM {target})"
        )
        number = connection.execute(query).fetchone()[0]
        if number:
            yield f"{number} rows of {table} have a {column} that is in no row of {target}"


def _wrong_counts(connection: sqlite3.Connection) -> Iterator[str]:
    columns = "flow_run_id, task_name, state_name, state_type"
    counted = set(
        map(
            tuple,
            connection.execute(
                f"SELECT {columns}, count(*) FROM task_run "
                f"WHERE state_id IS NOT NULL AND flow_run_id IS NOT NULL GROUP BY {columns}"
            ),
        )
    )
    stored = set(map(tuple, connection.execute(f'SELECT {columns}, "count" FROM rollup WHERE "count" <> 0')))
    for _, *row in counted - stored:
        yield f"{row} is what counting says, and no rollup says it"
    for _, *row in stored - counted:
        yield f"{row} is what a rollup says, and counting says otherwise"


def _wrong_states(connection: sqlite3.Connection, kind: str, with_losses: bool) -> Iterator[str]:
    """Hold each run to its states: the newest is its own, they come in a possible order, and times do not go back."""
    runs = {bytes(run["id"]): run for run in connection.execute(f"SELECT * FROM {kind}")}
    states: dict[bytes, list[sqlite3.Row]] = {}
    for state in connection.execute(f"SELECT * FROM {kind}_state ORDER BY {kind}_id, timestamp, id"):
        states.setdefault(bytes(state[f"{kind}_id"]), []).append(state)
    for key, run in runs.items():
        found = states.get(key, [])
        what = f"{kind} {run['name']!r} ({key.hex()})"
        names = [state["name"] for state in found]
        if not found:
            if run["state_id"] is not None:
                yield f"{what} has a state and no row says how it came to it"
            continue
        newest = found[-1]
        for column, own in (("id", "state_id"), ("type", "state_type"), ("name", "state_name")):
            if newest[column] != run[own]:
                yield f"{what} is {run['state_name']}, and the newest of its states {names} is {newest['name']}"
                break
        if newest["timestamp"] != run["state_timestamp"]:
            yield f"{what}: its state's time is not that of its newest state"
        if not (_LIFE_WITH_LOSSES if with_losses else _LIFE).fullmatch("".join(f"{name} " for name in names)):
            yield f"{what} went through {names}, which nothing does"
        started = sum(state["type"] == "RUNNING" for state in found)
        # The first start after a final state is counted as the first.
        if run["run_count"] != started and not (with_losses and run["run_count"] < started):
            yield f"{what} has run_count {run['run_count']} and started {started} times"
        # What never started has no end either.
        if (run["end_time"] is not None) != (run["state_type"] in _FINAL and started > 0):
            yield f"{what} is {run['state_type']} with end_time {run['end_time']}"
        if started and run["start_time"] is None:
            yield f"{what} has started and no start_time"


def _wrong_order(connection: sqlite3.Connection) -> Iterator[str]:
    """Look for effects without their causes."""
    runs = {bytes(run["id"]).hex(): run for run in connection.execute("SELECT * FROM task_run")}
    started = {
        bytes(row[0]).hex()
        for row in connection.execute("SELECT task_run_id FROM task_run_state WHERE type = 'RUNNING'")
    }
    for key, run in runs.items():
        if key not in started:
            continue
        for inputs in json.loads(run["task_inputs"]).values():
            for given in inputs:
                if given.get("input_type") != "task_run":
                    continue
                upstream = runs.get(str(given["id"]).replace("-", ""))
                if upstream is None:
                    yield f"task run {run['name']!r} has started with the value of a run that is not there"
                elif upstream["state_type"] != "COMPLETED":
                    yield (
                        f"task run {run['name']!r} has started with the value of {upstream['name']!r}, which is "
                        f"{upstream['state_type']}"
                    )
    query = """
        SELECT task_run.name, flow_run.state_type FROM flow_run
        JOIN task_run ON task_run.id = flow_run.parent_task_run_id
        WHERE task_run.state_type = 'COMPLETED' AND flow_run.state_type <> 'COMPLETED'
    """
    for name, state in connection.execute(query):
        yield f"task run {name!r} says that its subflow is Completed, and the subflow's run is {state}"
    query = """
        SELECT flow_run.name, task_run.name, task_run.state_name FROM task_run
        JOIN flow_run ON flow_run.id = task_run.flow_run_id
        WHERE flow_run.state_type = 'COMPLETED' AND task_run.state_type IN ('PENDING', 'RUNNING', 'SCHEDULED')
    """
    for flow_run, task_run, state in connection.execute(query):
        yield f"flow run {flow_run!r} is Completed, and its task run {task_run!r} is {state}"


if __name__ == "__main__":
    found_problems = problems_of(Path(sys.argv[1]))
    print("\n".join(found_problems) or "nothing contradicts itself")
    sys.exit(bool(found_problems))
