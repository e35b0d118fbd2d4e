"""Databases that have been in use: filled through the store, as quickly as it writes, before a server opens them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from random import Random
from uuid import UUID

from flowyard.schemas.events import JournalEvent, LogEmitted, TaskRunCreated, TaskRunEntered
from flowyard.schemas.runs import FlowRun, TaskRun, utcnow
from flowyard.schemas.states import State, StateType
from flowyard.services.reported_flow_runs import create_flow_run
from flowyard.store import flows
from flowyard.store.database import Database
from flowyard.store.flow_runs import Origin
from flowyard.store.projection import Projection

PERIOD = timedelta(days=30)
"""What the runs are spread over, evenly, up to now."""
FLOWS, TAGS, RARE_EVERY, TASKS = 20, 20, 1000, 5
_AT_ONCE = 10_000
# Of a hundred runs.
_STATES = (*[StateType.COMPLETED] * 90, *[StateType.FAILED] * 6, *[StateType.CRASHED] * 2, *[StateType.CANCELLED] * 2)


def fill_flow_runs(database: Database, count: int) -> None:
    """Add flow runs that have ended: of 20 flows, each with one of 20 tags, every thousandth with `rare` too."""
    end = utcnow()
    step = PERIOD / count
    chance = Random(20)  # the same runs each time, whose tags say nothing about their states
    with database.plain_writing() as connection:
        flow_ids = [flows.register(connection, f"flow-{number}", end) for number in range(FLOWS)]
    for first in range(0, count, _AT_ONCE):
        with database.plain_writing() as connection:
            for number in range(first, min(first + _AT_ONCE, count)):
                start = end - PERIOD + number * step
                run = _flow_run(flow_ids[number % FLOWS], number, start, f"tag-{chance.randrange(TAGS)}")
                state = State(chance.choice(_STATES), timestamp=run.end_time)
                create_flow_run(connection, run, state, Origin())


def _flow_run(flow_id: UUID, number: int, start: datetime, tag: str) -> FlowRun:
    tags = ["nightly", tag]
    if number % RARE_EVERY == RARE_EVERY // 2:
        tags.append("rare")
    took = timedelta(seconds=number % 300)
    return FlowRun(
        flow_id,
        f"steady-otter-{number}",
        parameters={"number": number},
        tags=tags,
        run_count=1,
        expected_start_time=start,
        start_time=start,
        end_time=start + took,
        total_run_time=took,
        created=start,
        updated=start + took,
    )


def fill_task_runs(database: Database, count: int) -> UUID:
    """Add one flow run with so many task runs, of five tasks, that went Pending, Running and then ended."""
    flow_run_id = _running_flow_run(database, "wide")
    _fill(database, _task_run_events(flow_run_id, count))
    return flow_run_id


def _task_run_events(flow_run_id: UUID, count: int) -> Iterator[JournalEvent]:
    begin = utcnow() - timedelta(hours=2)
    for number in range(count):
        start = begin + number * timedelta(hours=1) / count
        task = f"task-{number % TASKS}"
        run = TaskRun(f"{task}-key", f"{number}", f"{task}-{number}", task, flow_run_id, created=start)
        yield TaskRunCreated(run)
        last = StateType.FAILED if number % 50 == 0 else StateType.COMPLETED
        for order, kind in enumerate((StateType.PENDING, StateType.RUNNING, last)):
            yield TaskRunEntered(run.id, State(kind, timestamp=start + order * timedelta(seconds=1)))


def fill_logs(database: Database, count: int) -> UUID:
    """Add one flow run with so many log lines."""
    flow_run_id = _running_flow_run(database, "talkative")
    _fill(database, _lines(flow_run_id, count))
    return flow_run_id


def _lines(flow_run_id: UUID, count: int) -> Iterator[JournalEvent]:
    begin = utcnow() - timedelta(hours=12)
    for number in range(count):
        time = begin + number * timedelta(hours=10) / count
        level = 40 if number % 1000 == 0 else 20
        yield LogEmitted(flow_run_id, None, "flowyard.flow_runs", level, f"line {number}: forty characters or so", time)


def _running_flow_run(database: Database, name: str) -> UUID:
    with database.plain_writing() as connection:
        flow_id = flows.register(connection, name, utcnow())
        run = FlowRun(flow_id, name)
        create_flow_run(connection, run, State(StateType.RUNNING), Origin())
    return run.id


def _fill(database: Database, events: Iterator[JournalEvent]) -> None:
    projection = Projection(database.dialect)
    while some := list(islice(events, _AT_ONCE)):
        with database.plain_writing() as connection:
            projection.apply(connection, some)
        projection.settle()
