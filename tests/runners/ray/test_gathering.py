"""Calls that were submitted one by one and go to Ray together: nobody can tell but by the time it takes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowyard.flows import flow
from flowyard.process.backends import PROCESS
from flowyard.schemas.metrics import TaskMetrics
from flowyard.task_runners.base import Handle, TaskCall
from flowyard.tasks import task
from flowyard.testing.runners import make_call, outcome_of, outcomes_of
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import arrive, await_arrival, identity, meet, note, notes
from flowyard_ray import RayTaskRunner
from flowyard_ray.dispatch import Dispatcher
from flowyard_ray.jobs import Job
from flowyard_ray.sending import Sender

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("ray_driver", "_backend")]

SHORT = TaskMetrics(worker_seconds=0.0002)


@pytest.fixture(scope="module")
def _backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many calls each Ray task had."""
    sizes: list[int] = []
    send = Sender.send

    def noting(self: Sender, job: Job) -> None:
        sizes.append(len(job.items))
        send(self, job)

    monkeypatch.setattr(Sender, "send", noting)
    return sizes


def calls_of(fn: Callable[..., Any], *arguments: dict[str, Any]) -> list[TaskCall]:
    """Return calls of one task, as its flow makes them."""
    calls = [make_call(fn, **each).call for each in arguments]
    for call in calls:
        call.spec, call.context = calls[0].spec, calls[0].context
    return calls


def submit_together(runner: RayTaskRunner, calls: list[TaskCall]) -> list[Handle]:
    """Submit calls of a task that is known to be short, so that they go to Ray as one piece of work."""
    dispatcher = runner._dispatcher
    assert dispatcher is not None
    with_ray = threading.Event()
    handles: list[Handle] = []

    def on_the_thread_of_the_dispatcher() -> None:
        # What is submitted here is ready when this returns, all of it.
        dispatcher._gatherer.took(calls[0].spec, SHORT)
        handles.extend(runner.submit_many(calls))
        with_ray.set()

    dispatcher._inbox.put(on_the_thread_of_the_dispatcher)
    assert with_ray.wait(90)
    return handles


def test_short_calls_that_wait_go_to_ray_together_and_keep_their_own_runs(sent: list[int]) -> None:
    same = task(identity)

    @flow(task_runner=RayTaskRunner())
    def run() -> Any:
        futures = [same.submit(number) for number in range(300)]
        return [future.result() for future in futures], [future.task_run.id for future in futures]

    values, run_ids = run()
    assert values == list(range(300))
    assert sum(sent) >= 300, "those that were given back are sent again"
    assert len(sent) < 200
    control = PROCESS.backend().control
    for run_id in run_ids[::30]:
        assert [state.name for state in control.read_task_run_states(run_id)] == ["Pending", "Running", "Completed"]


def test_calls_with_large_values_are_not_sent_together(sent: list[int]) -> None:
    @task
    def large(number: int) -> bytes:
        return b"x" * 100_000

    @flow(task_runner=RayTaskRunner())
    def run() -> int:
        return sum(len(future.result()) for future in [large.submit(number) for number in range(40)])

    assert run() == 4_000_000
    assert set(sent) == {1}


def test_a_call_that_waits_for_one_behind_it_gets_it(folder: str, sent: list[int]) -> None:
    with RayTaskRunner().start() as runner:
        calls = calls_of(meet, *({"folder": folder, "me": me, "other": other} for me, other in ("ab", "ba", "cc")))
        handles = submit_together(runner, calls)
        assert [outcome.state.result() for outcome in outcomes_of(handles)] == ["a", "b", "c"]
    assert sent[0] == 3, "they were not together: the test shows nothing"


def test_a_slow_call_can_be_cancelled_and_those_behind_it_go_on(folder: str, sent: list[int]) -> None:
    with RayTaskRunner().start() as runner:
        calls = calls_of(meet, {"folder": folder, "me": "slow", "other": "nobody"}, *(
            {"folder": folder, "me": name, "other": name} for name in "abc"
        ))  # fmt: skip
        slow, *others = submit_together(runner, calls)
        await_arrival(folder, "slow")
        assert [outcome.state.result() for outcome in outcomes_of(others)] == ["a", "b", "c"]
        assert runner.cancel(slow)
        assert outcome_of(slow).state.is_cancelled()
        occupied = calls_of(meet, *({"folder": folder, "me": me, "other": other} for me, other in ("xy", "yx")))
        for call in occupied:
            call.spec = make_call(meet, folder=folder, me="", other="").call.spec
        # Both CPUs are free again: the worker of the cancelled call was killed.
        assert [outcome.state.result() for outcome in outcomes_of(runner.submit_many(occupied))] == ["x", "y"]
    assert sent[0] == 4, "they were not together: the test shows nothing"


def third_dies(folder: str, x: int) -> int:
    note(folder, f"run {x}")
    if x == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def test_a_call_that_kills_its_worker_takes_no_other_along(folder: str, sent: list[int]) -> None:
    with RayTaskRunner().start() as runner:
        handles = submit_together(runner, calls_of(third_dies, *({"folder": folder, "x": x} for x in range(6))))
        outcomes = outcomes_of(handles)
        names = [outcome.state.name for outcome in outcomes]
        assert names == ["Completed", "Completed", "Crashed", "Completed", "Completed", "Completed"]
        assert [outcome.lost_worker is not None for outcome in outcomes] == [name == "Crashed" for name in names]
        assert outcomes[1].state.result() == 1
        # What consumers need is there as well.
        consumer = make_call(identity, x=outcomes[5].state.result()).call
        assert outcome_of(runner.submit(consumer)).state.result() == 5
    assert sent[0] == 6, "they were not together: the test shows nothing"
    assert sorted(line for line in notes(folder) if "begin" in line) == [f"begin run {x}" for x in range(6)]


def test_crash_retries_of_gathered_calls_execute_the_lost_one_again(folder: str) -> None:
    def dies_once(number: int) -> int:
        if number == 150 and not Path(folder, "died").exists():
            arrive(folder, "died")
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    retried = task(dies_once).with_options(crash_retries=1)

    @flow(task_runner=RayTaskRunner())
    def run() -> list[int]:
        return [future.result() for future in [retried.submit(number) for number in range(300)]]

    assert run() == list(range(300))


def test_short_calls_of_two_tasks_in_turns_go_to_ray_together(sent: list[int]) -> None:
    one, other = task(identity), task(identity).with_options(name="other")

    @flow(task_runner=RayTaskRunner())
    def run() -> list[int]:
        futures = [each.submit(number) for number in range(150) for each in (one, other)]
        return [future.result() for future in futures]

    assert run() == [number for number in range(150) for _ in "12"]
    assert sum(sent) >= 300, "those that were given back are sent again"
    assert len(sent) < 200


def test_no_more_pieces_of_work_are_with_ray_than_were_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    in_flight: list[int] = []
    send = Dispatcher._send

    def noting(self: Dispatcher, job: Job) -> None:
        send(self, job)
        in_flight.append(len(self._in_flight))

    monkeypatch.setattr(Dispatcher, "_send", noting)
    with RayTaskRunner(max_pending=2).start() as runner:
        singles = runner.submit_many(calls_of(identity, *({"x": x} for x in range(12))))
        batches = [
            runner.submit_batch([(call, None) for call in calls_of(identity, {"x": 1}, {"x": 2})]) for _ in range(6)
        ]
        outcomes_of([*singles, *(handle for batch in batches for handle in batch)])
    assert max(in_flight) == 2
