"""What many wait for at once is done in one go, and nobody pays for what another one wanted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from flowyard.exceptions import ObjectNotFound
from flowyard.journal.awaited import Answers, Awaited
from flowyard.journal.batches import Operation, Share
from flowyard.local.backend import LocalBackend
from flowyard.schemas.ids import new_id
from flowyard.schemas.runs import FlowRun, utcnow
from flowyard.schemas.states import State, StateType
from flowyard.services.reported_flow_runs import (
    NewFlowRun,
    ProposedState,
    create_flow_run,
    create_flow_runs,
    propose_flow_run_states,
)
from flowyard.store import flow_runs
from flowyard.store.flow_runs import Origin
from flowyard.store.flows import register
from flowyard.store.plain import PlainConnection

DEADLINE = 90.0
S = StateType


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalBackend]:
    is_file = request.param == "sqlite"
    url: str = f"sqlite:///{tmp_path / 'flowyard.db'}" if is_file else request.getfixturevalue("postgres_url")
    with LocalBackend.open(url, tmp_path) as opened:
        yield opened


@contextmanager
def one_transaction(backend: LocalBackend) -> Generator[None]:
    """Let the writer take everything that is wanted in the block in one transaction."""
    is_held, may_go = threading.Event(), threading.Event()

    def hold(_: PlainConnection) -> None:
        is_held.set()
        assert may_go.wait(DEADLINE)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(backend.journal.perform, hold)
        assert is_held.wait(DEADLINE)
        try:
            yield
        finally:
            may_go.set()
        held.result(DEADLINE)


def all_of(backend: LocalBackend, do_all: Callable[..., Sequence[Any]], wishes: Sequence[Any]) -> list[Any]:
    """Return what became of wishes that came at once; an error in its place."""
    operations = [Operation[Any](Share(do_all, wish)) for wish in wishes]
    with one_transaction(backend):
        for operation in operations:
            backend.journal.enqueue(operation)
    return [outcome(operation.wait) for operation in operations]


def outcome(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except Exception as error:
        return error


def flow_of(backend: LocalBackend, name: str = "etl") -> UUID:
    return backend.journal.perform(lambda connection: register(connection, name, utcnow()))


def pending(backend: LocalBackend, *names: str) -> list[UUID]:
    """Make flow runs, and return their ids."""
    flow_id = flow_of(backend)

    def make(connection: PlainConnection) -> list[UUID]:
        runs = [FlowRun(flow_id, name) for name in names]
        return [create_flow_run(connection, run, State[None](S.PENDING), Origin())[0] for run in runs]

    return backend.journal.perform(make)


def state_of(backend: LocalBackend, run_id: UUID) -> StateType | None:
    return backend.journal.perform(lambda connection: flow_runs.read(connection, run_id).state_type)


def wish(run_id: UUID, kind: StateType) -> ProposedState:
    return ProposedState(run_id, lambda: State[None](kind), force=False)


def test_what_comes_at_once_is_done_in_one_call(backend: LocalBackend) -> None:
    calls: list[Sequence[int]] = []

    def do_all(_: PlainConnection, wishes: Sequence[int]) -> list[int | Exception]:
        calls.append(wishes)
        return [LookupError("three") if wish == 3 else wish * 10 for wish in wishes]

    results = all_of(backend, do_all, [1, 2, 3, 4])
    assert calls == [[1, 2, 3, 4]]
    assert results[:2] == [10, 20]
    assert isinstance(results[2], LookupError)
    assert results[3] == 40


def test_what_fails_as_a_whole_is_undone_and_done_one_by_one(backend: LocalBackend) -> None:
    def do_all(connection: PlainConnection, wishes: Sequence[str]) -> list[UUID]:
        made = [register(connection, name, utcnow()) for name in wishes]
        if "bad" in wishes:
            raise LookupError("bad")
        return made

    good, bad, other = all_of(backend, do_all, ["good", "bad", "other"])
    assert isinstance(bad, LookupError)
    names = backend.journal.perform(lambda connection: [row.name for row in connection.rows("SELECT name FROM flow")])
    assert sorted(names) == ["good", "other"]
    assert [flow_of(backend, "good"), flow_of(backend, "other")] == [good, other]


def test_of_two_who_want_one_run_at_once_the_second_is_judged_by_what_the_first_left(backend: LocalBackend) -> None:
    first, second = pending(backend, "first", "second")
    wishes = [wish(first, S.RUNNING), wish(second, S.COMPLETED), wish(first, S.PENDING), wish(first, S.COMPLETED)]
    results = all_of(backend, propose_flow_run_states, wishes)
    assert [result.status.value for result in results] == ["ACCEPT", "ACCEPT", "ABORT", "ACCEPT"]
    assert [state_of(backend, first), state_of(backend, second)] == [S.COMPLETED, S.COMPLETED]


def test_a_run_that_is_not_there_or_cannot_be_made_is_nobody_elses_business(backend: LocalBackend) -> None:
    (run_id,) = pending(backend, "run")
    nobody = new_id()
    found, missing = all_of(backend, propose_flow_run_states, [wish(run_id, S.RUNNING), wish(nobody, S.RUNNING)])
    assert found.status.value == "ACCEPT"
    assert isinstance(missing, ObjectNotFound)

    flow_id = flow_of(backend)

    def new(run: FlowRun) -> NewFlowRun:
        return NewFlowRun(lambda: (run, State[None](S.PENDING)), Origin())

    def refuse() -> tuple[FlowRun, State[Any]]:
        raise ValueError("no")

    keyed = [FlowRun(flow_id, name, idempotency_key="one") for name in ("first", "second")]
    wishes = [new(FlowRun(flow_id, "run")), new(FlowRun(nobody, "run")), NewFlowRun(refuse, Origin()), *map(new, keyed)]
    made, lost, refused, first, second = all_of(backend, create_flow_runs, wishes)
    assert (made.is_new, state_of(backend, made.id)) == (True, S.PENDING)
    assert isinstance(lost, ObjectNotFound)
    assert isinstance(refused, ValueError)
    assert (first.is_new, second.is_new, second.id) == (True, False, first.id)


def test_transactions_that_change_the_same_runs_in_opposite_order_both_go_through(
    postgres_url: str, tmp_path: Path
) -> None:
    with LocalBackend.open(postgres_url, tmp_path) as backend:
        ids = pending(backend, *"abcdefgh")
        start = threading.Barrier(2)

        def lock_many(order: Sequence[UUID]) -> int:
            locked = 0
            for _ in range(50):
                start.wait(DEADLINE)
                with backend.database.plain_writing() as connection:
                    locked += len(flow_runs.lock_many(connection, order))
            return locked

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(lock_many, [ids, ids[::-1]])) == [400, 400]


def test_an_event_loop_waits_for_answers_without_a_thread_and_lets_go_of_them(backend: LocalBackend) -> None:
    async def ask() -> list[Any]:
        answers = Answers(asyncio.get_running_loop())
        operations = [Awaited[Any](act, answers) for act in (lambda _: 1, lambda _: 1 // 0, lambda _: 3)]
        operations[2].future.cancel()
        for operation in operations:
            backend.journal.enqueue(operation)
        return await asyncio.gather(*(operation.future for operation in operations), return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert first == 1
    assert isinstance(second, ZeroDivisionError)
    assert isinstance(third, asyncio.CancelledError)


def test_the_writer_outlives_a_loop_that_did_not_wait_for_its_answer(backend: LocalBackend) -> None:
    async def ask() -> None:
        backend.journal.enqueue(Awaited(lambda _: 1, Answers(asyncio.get_running_loop())))

    with one_transaction(backend):
        asyncio.run(ask())
    assert backend.journal.perform(lambda _: 2) == 2
