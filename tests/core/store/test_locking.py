"""A run that somebody else has just changed is locked with the state that it has then; slots are given out in turns."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from flowyard.schemas.ids import new_id
from flowyard.schemas.limits import SlotRequest
from flowyard.schemas.runs import Flow, FlowRun, utcnow
from flowyard.schemas.states import State
from flowyard.services.orchestration import propose_flow_run_state
from flowyard.services.reported_flow_runs import create_flow_run
from flowyard.store import flow_runs, slots
from flowyard.store.database import Database, open_database
from flowyard.store.flow_runs import Origin
from flowyard.store.plain import PlainConnection

DEADLINE = 90.0


def wait_until_blocked(database: Database) -> None:
    """Wait until a connection waits for the lock of another one."""
    deadline = time.monotonic() + DEADLINE
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    while time.monotonic() < deadline:
        with database.plain_reading() as connection:
            if connection.value(query):
                return
    raise AssertionError("nobody waits for a lock")


def test_the_second_of_two_sees_the_state_that_the_first_has_written(postgres_url: str) -> None:
    database = open_database(postgres_url)
    flow = Flow("etl")
    run = FlowRun(flow.id, "run")

    def propose(connection: PlainConnection, kind: str) -> None:
        propose_flow_run_state(connection, run.id, State[None](kind), lease=None, force=False, now=utcnow())

    def lock() -> str | None:
        with database.plain_writing() as connection:
            return flow_runs.lock(connection, run.id).state_name

    with database.plain_writing() as connection:
        values = {"id": flow.id, "name": "etl", "tags": [], "created": flow.created, "updated": flow.updated}
        connection.insert("flow", values)
        create_flow_run(connection, run, State[None]("PENDING"), Origin())
    with ThreadPoolExecutor(1) as pool:
        with database.plain_writing() as first:
            propose(first, "RUNNING")
            second = pool.submit(lock)
            wait_until_blocked(database)
        assert second.result(DEADLINE) == "Running"
    database.close()


def test_transactions_that_ask_for_slots_in_opposite_order_do_not_wait_for_each_other(postgres_url: str) -> None:
    database = open_database(postgres_url)
    owner = new_id()

    def take(connection: PlainConnection, *names: str) -> None:
        for name in names:
            slots.acquire(connection, SlotRequest(names=(name,), slots=1), owner_id=owner, now=utcnow())

    def take_in_one(*names: str) -> None:
        with database.plain_writing() as connection:
            take(connection, *names)

    take_in_one("one", "other")
    with ThreadPoolExecutor(1) as pool:
        with database.plain_writing() as first:
            take(first, "one")
            second = pool.submit(take_in_one, "other", "one")
            wait_until_blocked(database)
            take(first, "other")
        second.result(DEADLINE)
    database.close()
