"""Nothing is switched off for the benchmark: looks in the database that every run left all of its records.

The file is read with `sqlite3` and plain SQL, so that a fault in our own reading code cannot hide a missing record;
`workloads.read_back` asks the same of the reading code, once per arm.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

DATABASE = "flowyard.db"
TASK_STATES = ("PENDING", "RUNNING", "COMPLETED")
LOGGED_BY_ENGINE = ("Created task run ", "Finished in state ")


class RecordsMissing(Exception):
    """A run did not leave the records that it must leave: the figure does not count."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a benchmark's flow runs must have left, warm-up flows aside."""

    tasks: int
    """Task runs, each with its states Pending, Running and Completed."""
    flow_runs: int = 1
    upstreams: int = 0
    """References to upstream task runs in all inputs together."""
    logged: bool = False
    """Whether the engine's log records of every task run must be there."""


def verify(home: Path, expected: Expected) -> None:
    """Check the database in `home`.

    Raises:
        RecordsMissing: names what is missing and how much of it.
    """
    path = home / DATABASE
    if not path.exists():
        raise RecordsMissing(f"there is no {DATABASE} in the home of the run")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        connection.executescript(
            """
            CREATE TEMP TABLE measured AS
              SELECT flow_run.id FROM flow_run JOIN flow ON flow.id = flow_run.flow_id WHERE flow.name <> 'warm-up';
            CREATE TEMP TABLE measured_task AS
              SELECT task_run.* FROM task_run WHERE flow_run_id IN (SELECT id FROM measured);
            """
        )
        problems = [*_flow_problems(connection, expected), *_task_problems(connection, expected)]
    if problems:
        raise RecordsMissing("; ".join(problems))


def _one(connection: sqlite3.Connection, sql: str) -> int:
    return connection.execute(sql).fetchone()[0]


def _wrong(what: str, found: int, wanted: int) -> list[str]:
    return [] if found == wanted else [f"{what}: {found:,} instead of {wanted:,}"]


def _flow_problems(connection: sqlite3.Connection, expected: Expected) -> list[str]:
    problems = _wrong("flow runs", _one(connection, "SELECT count(*) FROM measured"), expected.flow_runs)
    completed = "SELECT count(*) FROM flow_run WHERE state_type = 'COMPLETED' AND id IN (SELECT id FROM measured)"
    problems += _wrong("completed flow runs", _one(connection, completed), expected.flow_runs)
    for state in TASK_STATES:
        distinct = (
            "SELECT count(DISTINCT flow_run_id) FROM flow_run_state "
            f"WHERE type = '{state}' AND flow_run_id IN (SELECT id FROM measured)"
        )
        problems += _wrong(f"flow runs with a state {state}", _one(connection, distinct), expected.flow_runs)
    return problems


def _task_problems(connection: sqlite3.Connection, expected: Expected) -> list[str]:
    tasks = expected.tasks
    problems = _wrong("task runs", _one(connection, "SELECT count(*) FROM measured_task"), tasks)
    completed = (
        "SELECT count(*) FROM measured_task WHERE state_type = 'COMPLETED' AND run_count = 1 "
        "AND start_time IS NOT NULL AND end_time >= start_time"
    )
    problems += _wrong("task runs that are Completed, with their times", _one(connection, completed), tasks)
    for state in TASK_STATES:
        distinct = (
            "SELECT count(DISTINCT task_run_id) FROM task_run_state "
            f"WHERE type = '{state}' AND task_run_id IN (SELECT id FROM measured_task)"
        )
        problems += _wrong(f"task runs with a state {state}", _one(connection, distinct), tasks)
    current = (
        "SELECT count(*) FROM measured_task JOIN task_run_state "
        "ON task_run_state.task_run_id = measured_task.id AND task_run_state.id = measured_task.state_id "
        "WHERE task_run_state.type = 'COMPLETED'"
    )
    problems += _wrong("task runs whose current state is stored", _one(connection, current), tasks)
    problems += _input_problems(connection, expected)
    if expected.logged:
        for beginning in LOGGED_BY_ENGINE:
            logged = (
                f"SELECT count(*) FROM log WHERE message LIKE '{beginning}%' "
                "AND flow_run_id IN (SELECT id FROM measured)"
                # The flow run finishes in a state too; its line has no task run.
                + (" AND task_run_id IS NOT NULL" if beginning.startswith("Finished") else "")
            )
            problems += _wrong(f"log records {beginning!r}", _one(connection, logged), tasks)
    return problems


def _input_problems(connection: sqlite3.Connection, expected: Expected) -> list[str]:
    ids = {row[0] for row in connection.execute("SELECT id FROM measured_task")}
    references = unknown = 0
    for (text,) in connection.execute("SELECT task_inputs FROM measured_task"):
        inputs: dict[str, list[dict[str, str]]] = json.loads(text)
        for sources in inputs.values():
            for source in sources:
                references += 1
                unknown += bytes.fromhex(source["id"].replace("-", "")) not in ids
    return [
        *_wrong("upstreams in the inputs", references, expected.upstreams),
        *_wrong("upstreams that name no task run of the flow", unknown, 0),
    ]
