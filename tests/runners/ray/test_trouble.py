"""Workers that die, events that get lost, values that cannot travel: on a real Ray."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import pytest
import ray
from ray.exceptions import ObjectLostError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from flowyard.flows import flow
from flowyard.logging.loggers import get_run_logger
from flowyard.process.backends import PROCESS
from flowyard.schemas.filters import LogFilter
from flowyard.schemas.states import State
from flowyard.task_runners.base import TaskCall
from flowyard.tasks import task
from flowyard.testing.runners import make_call, outcomes_of
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import arrive, await_arrival, identity, note, notes
from flowyard_ray import RayTaskRunner, remote_options
from flowyard_ray.dispatch import Dispatcher
from flowyard_ray.jobs import RayHandle
from flowyard_ray.letters import Letters
from flowyard_ray.mailbox import REPORT

pytestmark = [pytest.mark.timeout(400), pytest.mark.usefixtures("ray_driver", "_backend")]


@pytest.fixture(scope="module")
def _backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


same = task(identity)


def die(folder: str) -> str:
    note(folder, "attempt")
    if len(notes(folder)) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def states_of(run_id: UUID) -> list[str]:
    return [state.name for state in PROCESS.backend().control.read_task_run_states(run_id)]


def logs_of(run_id: UUID) -> list[str]:
    return [log.message for log in PROCESS.backend().control.read_logs(LogFilter(task_run_id=run_id))]


def reason(state: State[Any]) -> str:
    return state.message or ""


# --- workers that die --------------------------------------------------------------------------------------------


def test_a_killed_worker_crashes_the_call_that_it_executed(folder: str) -> None:
    dying = task(die)

    @flow(task_runner=RayTaskRunner())
    def run() -> Any:
        lost = dying.submit(folder)
        consumer, other = same.submit(lost), same.submit(1)
        return [future.wait() for future in (lost, consumer, other)]

    lost, consumer, other = run(return_state=True).result(raise_on_failure=False)
    assert (lost.name, consumer.name, other.name) == ("Crashed", "NotReady", "Completed")
    assert "was lost" in reason(lost)
    assert len(notes(folder)) == 2, "it ran once"


def test_crash_retries_execute_a_lost_call_again(folder: str) -> None:
    dying = task(die).with_options(crash_retries=1)

    @flow(task_runner=RayTaskRunner())
    def run() -> str:
        return dying.submit(folder).result()

    assert run() == "alive"
    assert len(notes(folder)) == 4


def test_max_retries_of_ray_execute_a_lost_call_again_and_say_so(folder: str) -> None:
    dying = task(die)

    @flow(task_runner=RayTaskRunner())
    def run() -> tuple[str, UUID]:
        with remote_options(max_retries=2):
            future = dying.submit(folder)
        return future.result(), future.task_run.id

    value, run_id = run()
    assert value == "alive"
    assert any("executed again" in line for line in logs_of(run_id))


def batch_of(fn: Any, xs: Iterable[Any]) -> list[tuple[TaskCall, None]]:
    """Return calls of one task, as a map makes them."""
    calls = [make_call(fn, x=x).call for x in xs]
    for call in calls:
        call.spec, call.context = calls[0].spec, calls[0].context
    return [(call, None) for call in calls]


def test_a_lost_worker_loses_its_batch_and_no_other() -> None:
    def exit_at_7(x: int) -> int:
        if x == 7:
            os._exit(1)
        return x

    with RayTaskRunner().start() as runner:
        handles = runner.submit_batch(batch_of(exit_at_7, range(5, 9)))
        others = runner.submit_batch(batch_of(exit_at_7, range(4)))
        outcomes = outcomes_of(handles)
        assert [outcome.state.name for outcome in outcomes] == ["Crashed"] * 4
        assert all(outcome.lost_worker for outcome in outcomes)
        assert [outcome.state.result() for outcome in outcomes_of(others)] == list(range(4))


def test_what_ended_before_its_worker_died_is_not_lost(folder: str) -> None:
    def last_dies(x: int) -> int:
        note(folder, f"run {x}")
        if x == 2:
            await_arrival(folder, "seen")
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with RayTaskRunner().start() as runner:
        calls = batch_of(last_dies, range(4))
        # It is taken out of its batch while that still runs, with what it gave.
        *early, dying, after = runner.submit_batch(calls)
        assert [outcome.state.result() for outcome in outcomes_of(early)] == [0, 1]
        arrive(folder, "seen")
        assert [outcome.state.name for outcome in outcomes_of([dying, after])] == ["Crashed", "Crashed"]
    assert [line for line in notes(folder) if "begin" in line] == [f"begin run {x}" for x in range(3)]


def test_a_letter_on_its_way_when_the_worker_died_still_counts(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    letters: list[Any] = []
    read = Letters.read
    deaths: list[Any] = []

    def hold_back(self: Letters, came: Any, error: Any) -> None:
        # Until the death is known, everything stays in the post.
        letters.extend(came or ())
        came = [] if not deaths else [letters.pop(0) for _ in list(letters)]
        read(self, came, error)

    def note_death(self: Dispatcher, job: Any, error: BaseException) -> None:
        deaths.append(error)
        failed(self, job, error)

    failed = Dispatcher._failed
    monkeypatch.setattr(Letters, "read", hold_back)
    monkeypatch.setattr(Dispatcher, "_failed", note_death)

    def second_dies(x: int) -> int:
        if x == 1:
            await_arrival(folder, "sent")
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    with RayTaskRunner().start() as runner:
        handles = runner.submit_batch(batch_of(second_dies, range(2)))
        deadline = time.monotonic() + 90
        while not any(first == REPORT for _, first, _ in letters) and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        assert handles[0].outcome is None
        arrive(folder, "sent")
        assert [outcome.state.name for outcome in outcomes_of(handles)] == ["Completed", "Crashed"]


def test_a_worker_that_cannot_do_its_part_crashes_calls_and_their_flow_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, spec_hash: bytes, spec_data: bytes | None, max_calls: int) -> Any:
        def flowyard_task(*arguments: Any) -> None:
            raise ImportError("another version of flowyard is installed here")

        return ray.remote(flowyard_task)

    monkeypatch.setattr("flowyard_ray.sending.remote_function", broken)

    @flow(task_runner=RayTaskRunner())
    def run() -> list[State[Any]]:
        made = [same.submit(1), *same.map(range(6), batch_size=3)]
        return [future.wait() for future in (*made, same.submit(made))]

    *made, consumer = run(return_state=True).result(raise_on_failure=False)
    assert {state.name for state in made} == {"Crashed"}
    assert "another version of flowyard" in reason(made[0])
    assert consumer.name == "NotReady"


# --- batches ------------------------------------------------------------------------------------------------------


def test_each_call_of_a_batch_has_its_own_outcome_and_goes_on_to_consumers() -> None:
    def invert(x: float) -> float:
        return 1 / x

    with RayTaskRunner().start() as runner:
        handles = runner.submit_batch(batch_of(invert, (1, 0, 4)))
        outcomes = outcomes_of(handles)
        assert [outcome.state.name for outcome in outcomes] == ["Completed", "Failed", "Completed"]
        assert outcomes[2].state.result() == 0.25
        assert len({id(handle.place) for handle in handles if isinstance(handle, RayHandle)}) == 1


def test_a_mapped_flow_in_batches_gives_what_it_gives_one_by_one() -> None:
    @task
    def square(x: int) -> int:
        return x * x

    @flow(task_runner=RayTaskRunner())
    def run() -> list[int]:
        first = square.map(range(40), batch_size=10)
        return [future.result() for future in square.map(first, batch_size=10)]

    assert run() == [x**4 for x in range(40)]


# --- events --------------------------------------------------------------------------------------------------------


def talk(folder: str) -> None:
    get_run_logger().info("here I am")
    arrive(folder, "begun")
    await_arrival(folder, "enough")
    get_run_logger().info("that was it")


def test_states_and_logs_of_a_running_task_are_seen_while_it_runs(folder: str) -> None:
    talking = task(talk)

    @flow(task_runner=RayTaskRunner())
    def run() -> tuple[list[str], list[str], UUID]:
        future = talking.submit(folder)
        run_id = future.task_run.id
        deadline = time.monotonic() + 90
        while "here I am" not in (lines := logs_of(run_id)) and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        states = states_of(run_id)
        arrive(folder, "enough")
        future.wait()
        return lines, states, run_id

    lines, states, run_id = run()
    assert lines == ["here I am"]
    assert states == ["Pending", "Running"]
    assert states_of(run_id) == ["Pending", "Running", "Completed"]
    assert [line for line in logs_of(run_id) if "I" in line or "that" in line] == ["here I am", "that was it"]


def test_a_mailbox_that_loses_every_letter_loses_no_record(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[Any] = []
    monkeypatch.setattr(Letters, "read_letter", lambda self, letter: lost.append(letter))
    talking = task(talk)

    @flow(task_runner=RayTaskRunner())
    def run() -> UUID:
        future = talking.submit(folder)
        deadline = time.monotonic() + 90
        while not lost and time.monotonic() < deadline:
            threading.Event().wait(0.05)
        arrive(folder, "enough")
        future.wait()
        return future.task_run.id

    run_id = run()
    assert lost, "no letter came: the test shows nothing"
    assert states_of(run_id) == ["Pending", "Running", "Completed"]
    assert [line for line in logs_of(run_id) if "I" in line or "that" in line] == ["here I am", "that was it"]


# --- values ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_pickled_is_named() -> None:
    def make_lock() -> Any:
        return threading.Lock()

    taking, making = task(identity), task(make_lock)

    @flow(task_runner=RayTaskRunner())
    def run() -> list[State[Any]]:
        return [taking.submit({"a": threading.Lock()}).wait(), making.submit().wait(), taking.submit(1).wait()]

    argument, result, fine = run(return_state=True).result(raise_on_failure=False)
    assert argument.is_failed()
    assert "['a'] in argument 'x' of task 'identity' (a _thread.lock)" in reason(argument)
    assert result.is_failed()
    assert "result of task 'make_lock'" in reason(result)
    assert fine.is_completed()


def test_a_module_that_workers_do_not_have_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(tmp_path, "only_here_ray.py").write_text("def work():\n    return 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    import only_here_ray  # pyright: ignore[reportMissingImports]

    working = task(only_here_ray.work)

    @flow(task_runner=RayTaskRunner())
    def run() -> State[Any]:
        return working.submit().wait()

    state = run(return_state=True).result(raise_on_failure=False)
    assert state.is_failed()
    assert "No module named 'only_here_ray'" in reason(state)
    assert "runtime_env" in reason(state)
    assert "PYTHONPATH" in reason(state)


def test_a_value_stays_in_ray_until_it_is_asked_for_and_no_longer_than_somebody_wants_it() -> None:
    def large() -> bytes:
        return b"x" * 5_000_000

    def length(data: bytes) -> int:
        return len(data)

    making, measuring = task(large), task(length)

    @flow(task_runner=RayTaskRunner())
    def run() -> None:
        future = making.submit()
        assert measuring.submit(future).result() == 5_000_000
        assert future.settled_state is not None
        assert "on the cluster" in repr(future.settled_state.data)
        assert isinstance(future.handle, RayHandle)
        place = weakref.ref(future.handle.place)
        assert len(future.result()) == 5_000_000
        del future
        gc.collect()
        # The threads that brought the outcome may be on their way out of it still.
        deadline = time.monotonic() + 90
        while place() is not None and time.monotonic() < deadline:
            threading.Event().wait(0.01)
        assert place() is None

    run()


def test_references_of_ray_are_passed_on_as_references() -> None:
    @task
    def fetch(named: dict[str, Any]) -> Any:
        return [ray.get(named["reference"]), ray.put("made there")]

    @flow(task_runner=RayTaskRunner())
    def run() -> Any:
        came, made = fetch.submit({"reference": ray.put("made here")}).result()
        return came, ray.get(made)

    assert run() == ("made here", "made there")


@pytest.mark.parametrize("is_persisted", [False, True], ids=["in-ray", "persisted"])
def test_a_lost_value_is_read_from_storage_or_crashes_its_consumer_but_its_task_does_not_run_again(
    folder: str, is_persisted: bool
) -> None:
    def make(folder: str) -> bytes:
        note(folder, "made")
        return b"x" * 1_000_000

    making, measuring = task(make).with_options(persist_result=is_persisted), task(len_of)

    @flow(task_runner=RayTaskRunner())
    def run() -> list[State[Any]]:
        made = making.submit(folder)
        made.wait()
        assert isinstance(made.handle, RayHandle)
        # As if the node with the value had died.
        made.handle.place.reference = lost_reference()
        return [measuring.submit(made).wait()]

    [state] = run(return_state=True).result(raise_on_failure=False)
    if is_persisted:
        assert state.result() == 1_000_000
    else:
        assert state.is_crashed()
        assert "value lost with worker of Ray" in reason(state)
        assert "it was that of task run 'make-0'" in reason(state)
    assert len(notes(folder)) == 2, "the task that made the value ran once"


def test_a_lost_value_is_made_again_where_crash_retries_allow_it(folder: str) -> None:
    def make(folder: str) -> bytes:
        note(folder, "made")
        return b"x" * 1_000_000

    making, measuring = task(make).with_options(crash_retries=1), task(len_of)

    @flow(task_runner=RayTaskRunner())
    def run() -> list[int]:
        kept, made = making.submit(folder), making.submit(folder)
        for future in (kept, made):
            future.wait()
        assert isinstance(made.handle, RayHandle)
        made.handle.place.reference = lost_reference()
        measured = task(both).submit(kept, made)
        return [measured.result(), measuring.submit(made).result(), same.submit(measured).result()]

    assert run() == [2_000_000, 1_000_000, 2_000_000]
    assert len(notes(folder)) == 6, "only the task whose value was lost ran again, and once for both of its consumers"


def both(first: bytes, second: bytes) -> int:
    return len(first) + len(second)


def lost_reference() -> Any:
    """Return a reference to a value that Ray has lost."""

    @ray.remote(num_cpus=0)
    class Owner:
        def make(self) -> list[Any]:
            return [ray.put(b"x" * 1_000_000)]

    owner: Any = Owner.remote()
    [reference] = ray.get(owner.make.remote())
    ray.kill(owner)
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            ray.get(reference, timeout=5)
        except ObjectLostError:
            return reference
        threading.Event().wait(0.1)
    raise AssertionError("Ray still has the value")


def len_of(data: bytes) -> int:
    return len(data)


def test_remote_options_around_a_submission_reach_ray() -> None:
    @task
    def assigned() -> dict[str, float]:
        return ray.get_runtime_context().get_assigned_resources()

    @task
    @remote_options(num_cpus=2)
    def greedy() -> dict[str, float]:
        return ray.get_runtime_context().get_assigned_resources()

    @flow(task_runner=RayTaskRunner())
    def run() -> list[float]:
        with remote_options(num_cpus=2):
            two = assigned.submit()
            with remote_options(num_cpus=0.5):
                half = assigned.submit()
        return [future.result()["CPU"] for future in (assigned.submit(), two, half, greedy.submit())]

    assert run() == [1, 2, 0.5, 2]


def test_a_worker_ends_after_as_many_calls_as_it_may_execute() -> None:
    @task
    def process() -> int:
        return os.getpid()

    @flow(task_runner=RayTaskRunner())
    def run() -> list[int]:
        with remote_options(max_calls=1):
            return [process.submit().result() for _ in range(3)]

    assert len(set(run())) == 3


def test_a_task_may_have_any_name() -> None:
    named = same.with_options(name="größe 日本")

    @flow(task_runner=RayTaskRunner())
    def run() -> list[int]:
        return [named.submit(1).result(), *named.map([2, 3], batch_size=2).result()]

    assert run() == [1, 2, 3]


def test_the_letters_of_two_flow_runs_on_one_worker_are_told_apart() -> None:
    tokens: list[int] = []
    for _ in range(2):
        with RayTaskRunner().start() as runner:
            handle = runner.submit(make_call(identity, x=1).call)
            assert runner._dispatcher is not None
            tokens.extend(runner._dispatcher._by_token)
            outcomes_of([handle])
    assert len(set(tokens)) == len(tokens)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_node_that_dies_takes_its_tasks_along_and_no_others(
    ray_cluster: Any, ray_tools: Any, tmp_path: Path, folder: str
) -> None:
    node = ray_tools.start_node(
        folder, f"--address={ray_cluster.address}", "--num-cpus=1", '--resources={"second": 1}', "--min-worker-port=0",
        "--max-worker-port=0", f"--object-store-memory={100 * 1024 * 1024}",
    )  # fmt: skip
    talking = task(talk)

    @flow(task_runner=RayTaskRunner())
    def run() -> list[State[Any]]:
        with remote_options(resources={"second": 0.1}):
            there = talking.submit(folder)
        await_arrival(folder, "begun")
        ray_tools.end([*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)])
        node.wait(90)
        return [there.wait(), same.submit(1).wait()]

    there, here = run(return_state=True).result(raise_on_failure=False)
    assert there.is_crashed()
    assert "was lost" in reason(there)
    assert here.is_completed()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_values_of_a_node_that_died_are_read_from_storage_or_made_again_or_crash_their_consumers(
    ray_cluster: Any, ray_tools: Any, folder: str
) -> None:
    node = ray_tools.start_node(
        folder, f"--address={ray_cluster.address}", "--num-cpus=1", '--resources={"third": 1}', "--min-worker-port=0",
        "--max-worker-port=0", f"--object-store-memory={100 * 1024 * 1024}",
    )  # fmt: skip

    def make(folder: str, name: str) -> bytes:
        note(folder, f"{name} on {ray.get_runtime_context().get_node_id()}")
        return b"x" * 1_000_000

    making, measuring = task(make), task(len_of)
    there = next(each["NodeID"] for each in ray.nodes() if each["Alive"] and "third" in each["Resources"])

    @flow(task_runner=RayTaskRunner())
    def run() -> list[State[Any]]:
        with remote_options(scheduling_strategy=NodeAffinitySchedulingStrategy(there, soft=True)):
            stored = making.with_options(persist_result=True).submit(folder, "stored")
            again = making.with_options(crash_retries=1).submit(folder, "again")
            plain = making.submit(folder, "plain")
        for future in (stored, again, plain):
            future.wait()
        ray_tools.end([*psutil.Process(node.pid).children(recursive=True), psutil.Process(node.pid)])
        node.wait(90)
        return [future.wait() for future in [measuring.submit(made) for made in (stored, again, plain)]]

    stored, again, plain = run(return_state=True).result(raise_on_failure=False)
    assert stored.result() == 1_000_000
    assert again.result() == 1_000_000
    assert plain.is_crashed()
    assert "value lost with worker of Ray" in reason(plain)
    begun = [line.split()[1:4:2] for line in notes(folder) if line.startswith("begin")]
    assert sorted(name for name, _ in begun) == ["again", "again", "plain", "stored"]
    assert [where == there for _, where in begun] == [True, True, True, False]
