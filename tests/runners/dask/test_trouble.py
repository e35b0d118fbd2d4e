"""Dask workers and schedulers that die, and messages that do not arrive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dask.base import annotate
from distributed import Client, LocalCluster

from flowyard.client import get_client
from flowyard.exceptions import MissingResult, UnpicklableValue, WorkerLost
from flowyard.flows import flow
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.states import StateType
from flowyard.settings import FLOWYARD_HOME, temporary_settings
from flowyard.tasks import task
from flowyard.testing.runners import make_call, outcome_of
from flowyard.testing.utilities import flowyard_test_harness
from flowyard.testing.workloads import arrive, await_arrival, identity, meet, note, notes
from flowyard_dask import DaskTaskRunner
from flowyard_dask.session import Session


@pytest.fixture(scope="module", autouse=True)
def backend() -> Iterator[None]:
    with flowyard_test_harness():
        yield


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


@task
def die_once(folder: str) -> int:
    """Note the attempt, and kill the worker at the first."""
    note(folder, "attempt")
    if len(notes(folder)) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


@task
def make_list(folder: str) -> list[int]:
    note(folder, "made")
    return [os.getpid(), *range(10_000)]


# --- lost workers ------------------------------------------------------------------------------------------


def test_a_call_whose_worker_is_killed_crashes_and_does_not_run_again(small: Any, folder: str) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def killed() -> tuple[str, type[Any], list[int]]:
        # What a worker did in its last milliseconds nobody heard of: that counts as lost too, so it is asked for first.
        others = [task(identity).submit(number).result() for number in range(10)]
        state = die_once.submit(folder).wait()
        return state.name, type(state.result(raise_on_failure=False)), others

    assert killed() == ("Crashed", WorkerLost, list(range(10)))
    assert notes(folder) == ["begin attempt", "end attempt"]


def test_a_lost_call_runs_again_within_its_crash_retries(small: Any, folder: str) -> None:
    @flow(task_runner=DaskTaskRunner(address=small.address))
    def killed() -> tuple[int, int]:
        future = die_once.with_options(crash_retries=1).submit(folder)
        return future.result(), future.task_run.run_count

    assert killed()[0] > 0
    assert notes(folder) == ["begin attempt", "end attempt"] * 2


def test_queued_calls_go_to_another_worker(small: Any, folder: str) -> None:
    runner = DaskTaskRunner(address=small.address)
    with runner.start():
        first, told_first = _submit_and_hear(runner, folder=folder, me="a", other="release")
        second, told_second = _submit_and_hear(runner, folder=folder, me="b", other="release")
        assert told_first.wait(90)
        assert told_second.wait(90)
        queued = [runner.submit(make_call(identity, x=number).call) for number in range(8)]
        small.workers[0].kill()
        lost = _first_done(first, second)
        arrive(folder, "release")
        outcomes = [outcome_of(handle) for handle in (first, second)]
        assert sorted(outcome.state.type.value for outcome in outcomes) == ["COMPLETED", "CRASHED"]
        assert lost.lost_worker is not None
        assert [outcome_of(handle).state.result() for handle in queued] == list(range(8))


def _submit_and_hear(runner: DaskTaskRunner, **arguments: Any) -> tuple[Any, threading.Event]:
    """Submit a `meet`; the event is set when its worker has told that it runs."""
    made = make_call(meet, **arguments)
    told = threading.Event()
    append = made.recorder.append

    def see(event: Any) -> None:
        append(event)
        if isinstance(event, TaskRunEntered) and event.state.is_running():
            told.set()

    made.recorder.append = see  # pyright: ignore[reportAttributeAccessIssue]
    return runner.submit(made.call), told


def test_a_call_that_a_silent_worker_began_is_not_executed_again(small: Any, folder: str) -> None:
    runner = DaskTaskRunner(address=small.address)
    with runner.start():
        client: Any = runner.session.client
        pids = {pid: address for address, pid in client.run(os.getpid).items()}
        # An item of a chunk; its worker freezes before it can say so.
        (frozen,) = runner.submit_batch([(make_call(_freeze, folder=folder).call, None)])
        while not Path(folder, "frozen").exists() or not Path(folder, "frozen").read_text():
            time.sleep(0.01)
        pid = int(Path(folder, "frozen").read_text())
        with annotate(workers=[pids[pid]], allow_other_workers=True, priority=10):
            urgent = runner.submit(make_call(identity, x=1).call)
        while len(client.processing()[pids[pid]]) < 2:
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        # It never began, but nobody can know.
        assert [outcome_of(handle).lost_worker for handle in (frozen, urgent)] == [pids[pid]] * 2
        assert outcome_of(runner.submit(make_call(identity, x=2).call)).state.result() == 2
    assert notes(folder) == ["begin freeze", "end freeze"]


def _freeze(folder: str) -> None:
    note(folder, "freeze")
    Path(folder, "frozen").write_text(str(os.getpid()))
    os.kill(os.getpid(), signal.SIGSTOP)


def _first_done(*handles: Any) -> Any:
    done = threading.Event()
    for handle in handles:
        handle.add_done_callback(lambda _: done.set())
    assert done.wait(90)
    return next(handle.outcome for handle in handles if handle.outcome is not None)


def test_a_lost_value_is_not_made_again_unseen(small: Any, folder: str) -> None:
    runner = DaskTaskRunner(address=small.address)
    with runner.start():
        made = make_call(make_list.fn, folder=folder)
        handle = runner.submit(made.call)
        outcome = outcome_of(handle)
        client: Any
        with Client(small.address, set_as_default=False) as client:
            (where,) = client.who_has([runner.native_ref(handle)]).values()
            pids = client.run(os.getpid)
        (place,) = where
        os.kill(pids[place], signal.SIGKILL)
        with pytest.raises(MissingResult, match="lost with worker"):
            outcome.state.result()
    assert notes(folder) == ["begin made", "end made"]


def test_items_of_a_chunk_that_are_done_stay_done_when_their_worker_dies(small: Any, folder: str) -> None:
    runner = DaskTaskRunner(address=small.address)
    with runner.start():
        calls = [make_call(identity, x=1), make_call(meet, folder=folder, me="in-chunk", other="nobody")]
        first, second = runner.submit_batch([(made.call, None) for made in calls])
        assert outcome_of(first).state.result() == 1
        await_arrival(folder, "in-chunk")
        for worker in small.workers:
            worker.kill()
        outcome = outcome_of(second)
        assert outcome.lost_worker is not None
        assert outcome.state.type is StateType.CRASHED


def test_a_scheduler_that_dies_crashes_what_is_pending(small: Any, folder: str) -> None:
    runner = DaskTaskRunner(address=small.address, client_kwargs={"timeout": "1s"})
    with runner.start():
        handle = runner.submit(make_call(meet, folder=folder, me="a", other="nobody").call)
        await_arrival(folder, "a")
        small.scheduler.kill()
        outcome = outcome_of(handle)
        assert outcome.state.type is StateType.CRASHED
        assert "scheduler" in (outcome.state.message or "")
        later = outcome_of(runner.submit(make_call(identity, x=1).call))
        assert later.state.type is StateType.CRASHED


# --- lost messages --------------------------------------------------------------------------------------------


def test_no_state_is_lost_when_no_event_arrives(processes: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "_heard", lambda self, event: None)
    runner = DaskTaskRunner(cluster=processes)

    @task(log_prints=True)
    def talk(x: int) -> list[int]:
        print("hello", x)
        return [x] * 1_000

    with runner.start():
        calls = [make_call(talk.fn, x=number) for number in range(5)]
        handles = [runner.submit(made.call) for made in calls]
        chunk = [make_call(identity, x=letter) for letter in "ab"]
        handles += runner.submit_batch([(made.call, None) for made in chunk])
        outcomes = [outcome_of(handle) for handle in handles]
        assert [made.states(outcome) for made, outcome in zip([*calls, *chunk], outcomes, strict=True)] == [
            ["Running", "Completed"]
        ] * 7
        assert [outcome.state.result() for outcome in outcomes[5:]] == ["a", "b"]
        assert outcomes[2].state.result() == [2] * 1_000


def test_a_gap_in_the_stream_is_filled_from_the_worker(
    processes: LocalCluster, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    heard, messages = Session._heard, []

    def lose_the_first(self: Session, event: Any) -> None:
        messages.append(event)
        if len(messages) > 1:
            heard(self, event)

    monkeypatch.setattr(Session, "_heard", lose_the_first)
    runner = DaskTaskRunner(cluster=processes)
    with runner.start():
        made = make_call(meet, folder=folder, me="a", other="b")
        handle = runner.submit(made.call)
        while not messages:
            time.sleep(0.01)
        arrive(folder, "b")
        assert made.states(outcome_of(handle)) == ["Running", "Completed"]


def test_what_runs_is_told_while_it_runs(processes: LocalCluster, folder: str) -> None:
    runner = DaskTaskRunner(cluster=processes)
    with runner.start():
        handle, told = _submit_and_hear(runner, folder=folder, me="a", other="b")
        assert told.wait(90)
        assert handle.outcome is None
        arrive(folder, "b")
        assert outcome_of(handle).state.is_completed()


# --- what cannot travel ---------------------------------------------------------------------------------------


def test_an_argument_that_cannot_be_pickled_is_named(processes: LocalCluster) -> None:
    runner = DaskTaskRunner(cluster=processes)
    with runner.start():
        outcome = outcome_of(runner.submit(make_call(identity, x={"lock": threading.Lock()}).call))
        error = outcome.state.result(raise_on_failure=False)
        assert outcome.state.type is StateType.FAILED
        assert isinstance(error, UnpicklableValue)
        assert "['lock'] in argument 'x' of task 'identity'" in str(error)


def test_a_result_that_cannot_be_pickled_fails_its_own_run(processes: LocalCluster) -> None:
    runner = DaskTaskRunner(cluster=processes)

    def locked() -> Any:
        return threading.Lock()

    with runner.start():
        outcome = outcome_of(runner.submit(make_call(locked).call))
        assert outcome.state.type is StateType.FAILED
        assert "result of task 'locked'" in str(outcome.state.result(raise_on_failure=False))


def test_a_module_that_workers_lack_is_named_with_the_way_out(processes: LocalCluster) -> None:
    runner = DaskTaskRunner(cluster=processes)
    with runner.start():
        outcome = outcome_of(runner.submit(make_call(identity, x=_NeedsModule()).call))
        text = str(outcome.state.result(raise_on_failure=False))
        assert "module_of_the_flow" in text
        assert "upload_file" in text
        assert "PYTHONPATH" in text


class _NeedsModule:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return __import__, ("module_of_the_flow",)


def test_large_arguments_and_results_travel(processes: LocalCluster) -> None:
    runner = DaskTaskRunner(cluster=processes)
    with runner.start():
        outcome = outcome_of(runner.submit(make_call(identity, x=bytearray(b"x" * 12_000_000)).call))
        assert len(outcome.state.result()) == 12_000_000


# --- the end ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
@pytest.mark.parametrize("moment", ["running", "collecting"])
def test_no_process_is_left_when_a_flow_with_many_tasks_is_stopped(
    number: signal.Signals, moment: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import gc, os, time\n"
        "from pathlib import Path\n"
        "from flowyard.flows import flow\n"
        "from flowyard.tasks import task\n"
        "from flowyard_dask import DaskTaskRunner\n"
        "@task\n"
        "def sleep(number):\n"
        "    time.sleep(0.01 if number < 200 else 600)\n"
        "    return os.getpid()\n"
        "def collected(phase, info):\n"  # exceptions of such a callback are only printed
        "    gc.callbacks.remove(collected)\n"
        # In pieces: a signal that comes in the moment before a sleep begins does not end it.
        "    for _ in range(60_000):\n"
        "        time.sleep(0.01)\n"
        "@flow(name='stopped', task_runner=DaskTaskRunner(cluster_kwargs={'n_workers': 2, 'processes': True}))\n"
        "def stopped():\n"
        "    pids = {future.result() for future in sleep.map(range(200))}\n"
        "    futures = list(sleep.map(range(200, 1_000)))\n"
        "    print(*pids, flush=True)\n"
        "    if os.environ['MOMENT'] == 'collecting':\n"
        "        gc.callbacks.append(collected)\n"
        "        gc.collect()\n"
        "    futures[-1].wait()\n"
        "if __name__ == '__main__':\n"
        "    stopped()\n"
    )
    home = tmp_path / "home"
    changed = {"FLOWYARD_HOME": str(home), "FLOWYARD_LOGGING_LEVEL": "CRITICAL", "MOMENT": moment}
    program = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, **changed},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    try:
        pids = [int(word) for word in program.stdout.readline().split()]
        program.send_signal(number)
        _, errors = program.communicate(timeout=90)
    finally:
        program.kill()
        program.wait()
    assert pids, errors
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with temporary_settings({FLOWYARD_HOME: home}), get_client(sync_client=True) as client:
        (flow_run,) = client.read_flow_runs()
        assert flow_run.state is not None
        assert flow_run.state.name == "Crashed", errors


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_no_process_is_left_when_a_flow_is_stopped(number: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from flowyard.flows import flow\n"
        "from flowyard.tasks import task\n"
        "from flowyard_dask import DaskTaskRunner\n"
        "@task\n"
        "def sleep(path):\n"
        "    Path(path).write_text(str(os.getpid()))\n"
        "    time.sleep(600)\n"
        "@flow(task_runner=DaskTaskRunner(cluster_kwargs={'n_workers': 1, 'processes': True}))\n"
        "def stopped():\n"
        "    sleep.submit(os.environ['PID_FILE']).wait()\n"
        "if __name__ == '__main__':\n"
        "    stopped()\n"
    )
    pid_file = tmp_path / "pid"
    environment = {**os.environ, "FLOWYARD_HOME": str(tmp_path / "home"), "PID_FILE": str(pid_file)}
    program = subprocess.Popen(
        [sys.executable, str(script)], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        while not (pid_file.exists() and pid_file.read_text()):
            assert program.poll() is None, program.communicate()[1].decode()
            time.sleep(0.05)
        program.send_signal(number)
        _, stderr = program.communicate(timeout=90)
    finally:
        program.kill()
        program.wait()
    assert program.returncode != 0, stderr.decode()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
