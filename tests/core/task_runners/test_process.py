"""The process pool: what happens when processes die."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowyard.exceptions import WorkerLost
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.states import StateType
from flowyard.task_runners.base import CallContext, Outcome, TaskCall
from flowyard.task_runners.process import ProcessPoolTaskRunner
from flowyard.task_runners.process.launch import describe_exit
from flowyard.testing.runners import make_call, outcome_of, outcomes_of
from flowyard.testing.workloads import arrive, await_arrival, identity, meet, process_id


@pytest.fixture
def runner() -> Iterator[ProcessPoolTaskRunner]:
    made = ProcessPoolTaskRunner(max_workers=2)
    with made.start():
        yield made


@pytest.fixture
def one_worker() -> Iterator[ProcessPoolTaskRunner]:
    made = ProcessPoolTaskRunner(max_workers=1)
    with made.start():
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> str:
    made = tmp_path / "meeting"
    made.mkdir()
    return str(made)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def dies(pid: int) -> bool:
    """Wait until a process is gone; False when it stays."""
    deadline = time.monotonic() + 90
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def run(runner: ProcessPoolTaskRunner, fn: Any, **arguments: Any) -> Outcome:
    return outcome_of(runner.submit(make_call(fn, **arguments).call))


# --- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_workers", [0, -1, 1.5, "2", True])
def test_a_bad_number_of_workers_is_refused(max_workers: Any):
    with pytest.raises(ValueError, match=f"max_workers={max_workers!r} must be a whole number"):
        ProcessPoolTaskRunner(max_workers=max_workers)


def test_without_a_number_there_is_a_worker_per_processor():
    assert ProcessPoolTaskRunner().capacity() == len(os.sched_getaffinity(0))


def test_it_is_found_by_its_entry_point():
    from importlib.metadata import entry_points

    (found,) = entry_points(group="flowyard.task_runners", name="process")
    assert found.load() is ProcessPoolTaskRunner
    assert ProcessPoolTaskRunner().name == "process"


def test_importing_the_runner_loads_no_multiprocessing():
    code = "import sys, flowyard.task_runners.process; print('multiprocessing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


# --- workers ------------------------------------------------------------------------------------------------


def test_no_worker_starts_before_there_is_work_and_they_are_used_again(runner: ProcessPoolTaskRunner):
    assert runner._pool is not None
    assert runner._pool._workers == []
    pids = {run(runner, process_id).state.result() for _ in range(5)}
    assert len(pids) == 1, "calls that follow each other need one worker"
    assert pids != {os.getpid()}


def test_workers_are_gone_when_the_runner_has_ended():
    runner = ProcessPoolTaskRunner(max_workers=2)
    threads = set(threading.enumerate())
    descriptors = len(os.listdir("/proc/self/fd"))
    with runner.start():
        pid = run(runner, process_id).state.result()
        assert is_alive(pid)
    assert not is_alive(pid)
    assert set(threading.enumerate()) == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_busy_workers_are_killed_when_the_runner_ends(folder: str):
    runner = ProcessPoolTaskRunner(max_workers=2)

    def stay(folder: str) -> None:
        Path(folder, "pid").write_text(str(os.getpid()))
        meet(folder, "here", "nobody")

    with runner.start():
        handle = runner.submit(make_call(stay, folder=folder).call)
        await_arrival(folder, "here")
    assert outcome_of(handle).state.type is StateType.CANCELLED
    assert not is_alive(int(Path(folder, "pid").read_text()))


def test_what_a_killed_task_started_dies_with_it(one_worker: ProcessPoolTaskRunner, folder: str):
    def start_program(folder: str) -> None:
        program = subprocess.Popen(["sleep", "300"])
        Path(folder, "pid").write_text(str(program.pid))
        meet(folder, "here", "nobody")

    handle = one_worker.submit(make_call(start_program, folder=folder).call)
    await_arrival(folder, "here")
    one_worker.cancel(handle)
    assert dies(int(Path(folder, "pid").read_text()))


def test_a_task_cannot_read_the_console(runner: ProcessPoolTaskRunner):
    def ask() -> str:
        return input("name? ")

    assert type(run(runner, ask).state.result(raise_on_failure=False)) is EOFError


def test_an_interrupt_does_not_reach_workers(one_worker: ProcessPoolTaskRunner):
    def interrupt() -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "went on"

    assert run(one_worker, interrupt).state.result() == "went on"


def test_programs_of_a_task_can_be_interrupted(one_worker: ProcessPoolTaskRunner):
    def how_a_program_takes_it() -> int:
        code = "import signal; print(int(signal.getsignal(signal.SIGINT) is signal.SIG_IGN))"
        return int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)

    assert run(one_worker, how_a_program_takes_it).state.result() == 0


def test_sys_exit_in_a_task_ends_the_task_not_the_worker(one_worker: ProcessPoolTaskRunner):
    before = run(one_worker, process_id).state.result()
    state = run(one_worker, _exit_politely).state
    assert state.type is StateType.CRASHED
    assert type(state.result(raise_on_failure=False)) is SystemExit
    assert run(one_worker, process_id).state.result() == before


def _exit_politely() -> None:
    sys.exit(3)


def test_settings_of_the_call_rule_in_the_worker(one_worker: ProcessPoolTaskRunner):
    def default_retries() -> int:
        from flowyard.settings import get_current_settings

        return get_current_settings().FLOWYARD_TASK_DEFAULT_RETRIES

    for value in ("7", "8", None):
        call = make_call(default_retries).call
        settings = {} if value is None else {"FLOWYARD_TASK_DEFAULT_RETRIES": value}
        call.context = CallContext(call.context.flow_run, settings=settings)
        assert outcome_of(one_worker.submit(call)).state.result() == int(value or 0)


def test_variables_that_are_no_settings_are_the_same_in_the_worker(monkeypatch: pytest.MonkeyPatch):
    names = ["FLOWYARD_LOGGING_HANDLERS_CONSOLE_LEVEL", "FLOWYARD_MINE", "FLOWYARD_PROFILE"]
    for name in names:
        monkeypatch.setenv(name, "ERROR")

    def look() -> Any:
        import logging

        return [os.environ.get(name) for name in names], logging.getLogger("flowyard").handlers[0].level

    runner = ProcessPoolTaskRunner(max_workers=1)
    with runner.start():
        assert run(runner, look).state.result() == (["ERROR", "ERROR", None], 40)


def test_temporary_settings_of_the_flow_rule_in_the_worker():
    from flowyard.settings import FLOWYARD_TASK_DEFAULT_RETRIES, temporary_settings

    def default_retries() -> int:
        from flowyard.settings import get_current_settings

        return get_current_settings().FLOWYARD_TASK_DEFAULT_RETRIES

    with temporary_settings({FLOWYARD_TASK_DEFAULT_RETRIES: 5}):
        runner = ProcessPoolTaskRunner(max_workers=1)
        with runner.start():
            assert run(runner, default_retries).state.result() == 5


# --- death --------------------------------------------------------------------------------------------------


def _end_by_signal(number: int) -> None:
    os.kill(os.getpid(), number)


def _end_by_exit(code: int) -> None:
    os._exit(code)


def _segfault() -> None:
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    ctypes.string_at(0)


@pytest.mark.parametrize(
    ("fn", "arguments", "cause"),
    [
        pytest.param(_end_by_signal, {"number": 9}, "signal 9 (SIGKILL), possibly because memory ran out", id="kill"),
        pytest.param(_end_by_signal, {"number": 15}, "signal 15 (SIGTERM)", id="terminate"),
        pytest.param(_end_by_exit, {"code": 3}, "it exited with code 3", id="exit"),
        pytest.param(_end_by_exit, {"code": 0}, "it exited with code 0", id="exit-0"),
        pytest.param(_segfault, {}, "signal 11 (SIGSEGV): a crash in native code", id="segfault"),
    ],
)
def test_a_task_whose_worker_dies_is_crashed_with_the_cause(
    one_worker: ProcessPoolTaskRunner, fn: Any, arguments: dict[str, Any], cause: str
):
    made = make_call(fn, **arguments)
    outcome = outcome_of(one_worker.submit(made.call))
    assert outcome.state.type is StateType.CRASHED
    assert cause in (outcome.state.message or "")
    assert outcome.lost_worker is not None
    error = outcome.state.result(raise_on_failure=False)
    assert isinstance(error, WorkerLost)
    assert cause in error.cause
    assert made.states(outcome)[-1] == "Crashed"
    assert run(one_worker, identity, x="the next one").state.result() == "the next one"


def test_only_the_call_that_had_begun_is_lost(one_worker: ProcessPoolTaskRunner, folder: str):
    def count(folder: str, name: str) -> str:
        with Path(folder, "begun").open("a") as file:
            file.write(f"{name}\n")
        if name == "doomed":
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    # The pool learns that these calls are tiny, so that it sends many ahead.
    outcomes_of(one_worker.submit_many([make_call(count, folder=folder, name="early").call for _ in range(20)]))
    Path(folder, "begun").unlink()
    names = [*(f"before-{n}" for n in range(20)), "doomed", *(f"after-{n}" for n in range(20))]
    handles = one_worker.submit_many([make_call(count, folder=folder, name=name).call for name in names])
    ended = {name: outcome.state.name for name, outcome in zip(names, outcomes_of(handles), strict=True)}
    assert [name for name, state in ended.items() if state != "Completed"] == ["doomed"]
    assert ended["doomed"] == "Crashed"
    assert Path(folder, "begun").read_text().split() == names, "nothing that had begun may begin again"


def test_other_workers_do_not_notice(runner: ProcessPoolTaskRunner, folder: str):
    other = runner.submit(make_call(meet, folder=folder, me="other", other="release").call)
    await_arrival(folder, "other")
    assert run(runner, _end_by_signal, number=9).state.is_crashed()
    arrive(folder, "release")
    assert outcome_of(other).state.result() == "other"


def test_a_running_task_is_seen_running_and_keeps_its_times_when_lost(one_worker: ProcessPoolTaskRunner, folder: str):
    made = make_call(meet, folder=folder, me="here", other="nobody")
    handle = one_worker.submit(made.call)
    deadline = time.monotonic() + 90
    while not made.recorder:
        assert time.monotonic() < deadline, "Running must reach the flow's process while the task runs"
        time.sleep(0.005)
    (running,) = made.recorder
    assert isinstance(running, TaskRunEntered)
    assert running.state.name == "Running"
    assert made.call.task_run.state_name == "Running"
    assert one_worker._pool is not None
    one_worker._pool._workers[0].process.kill()
    run_ = outcome_of(handle).task_run
    assert run_.run_count == 1
    assert run_.start_time is not None
    assert run_.end_time is not None


def test_a_worker_that_a_forked_child_outlives_is_seen_as_dead(one_worker: ProcessPoolTaskRunner, folder: str):
    def leave_a_child_behind(folder: str) -> None:
        if os.fork() == 0:
            os.setsid()  # not in the group that is killed with the worker
            Path(folder, "pid").write_text(str(os.getpid()))
            arrive(folder, "child")
            time.sleep(300)
            os._exit(0)
        await_arrival(folder, "child")
        os._exit(4)

    state = run(one_worker, leave_a_child_behind, folder=folder).state
    assert "exited with code 4" in (state.message or "")
    os.kill(int(Path(folder, "pid").read_text()), signal.SIGKILL)


def test_workers_that_cannot_start_fail_calls_instead_of_being_started_for_ever(monkeypatch: pytest.MonkeyPatch):
    from flowyard.task_runners.process import pool

    monkeypatch.setattr(pool.Pool.__init__, "__defaults__", ("flowyard_no_such_module:shim",))
    runner = ProcessPoolTaskRunner(max_workers=2)
    with runner.start():
        state = run(runner, identity, x=1).state
        assert state.type is StateType.CRASHED
        assert "could not start: ModuleNotFoundError: No module named 'flowyard_no_such_module'" in (
            state.message or ""
        )


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "it exited with code 0"),
        (1, "it exited with code 1"),
        (-9, "signal 9 (SIGKILL)"),
        (-200, "signal 200 (unknown)"),
    ],
)
def test_exit_codes_are_explained(code: int, text: str):
    assert text in describe_exit(code)


# --- cancelling ---------------------------------------------------------------------------------------------


def test_cancelling_a_call_that_was_sent_ahead_costs_no_other_call(one_worker: ProcessPoolTaskRunner, folder: str):
    outcomes_of(one_worker.submit_many([make_call(identity, x=n).call for n in range(20)]))
    blocker = one_worker.submit(make_call(meet, folder=folder, me="busy", other="release").call)
    calls = [make_call(identity, x=n) for n in range(10)]
    handles = one_worker.submit_many([made.call for made in calls])
    await_arrival(folder, "busy")
    assert one_worker.cancel(handles[4]) is True
    arrive(folder, "release")
    assert [outcome.state.name for outcome in outcomes_of([blocker, *handles])] == [
        *["Completed"] * 5,
        "Cancelled",
        *["Completed"] * 5,
    ]


def test_cancelling_many_calls_at_once_leaves_the_others_alone(runner: ProcessPoolTaskRunner):
    handles = runner.submit_many([make_call(identity, x=n).call for n in range(300)])
    cancelled = [n for n in range(0, 300, 3) if runner.cancel(handles[n])]
    outcomes = outcomes_of(handles)
    for n, outcome in enumerate(outcomes):
        assert outcome.state.name == ("Cancelled" if n in cancelled else "Completed"), n


# --- the flow's process ---------------------------------------------------------------------------------------

_SCRIPT = """
import os, sys, time
from pathlib import Path
from flowyard import flow, task
from flowyard.task_runners.process import ProcessPoolTaskRunner

print("script", flush=True)

class Point:
    def __init__(self, x): self.x = x

class Oops(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")
        self.a = a

@task
def move(p): return Point(p.x + 1)

@task
def oops(): raise Oops(1, 2)

@task
def stay(folder):
    Path(folder, str(os.getpid())).touch()
    %s

@flow(task_runner=ProcessPoolTaskRunner(2), log_prints=False)
def main(folder):
    p = move.submit(Point(1)).result()
    assert type(p) is Point and p.x == 2
    error = oops.submit(return_state=True).result(raise_on_failure=False)
    assert type(error) is Oops and error.a == 1 and str(error) == "1 and 2", repr(error)
    if folder:
        stay.map([folder, folder])
        time.sleep(300)
    return "done"

print(main(sys.argv[1] if len(sys.argv) > 1 else None))
"""


@pytest.mark.parametrize("from_stdin", [False, True], ids=["file", "stdin"])
def test_a_script_without_a_main_guard_runs_once(home: Path, tmp_path: Path, from_stdin: bool):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT % "pass")
    done = subprocess.run(
        [sys.executable, "-" if from_stdin else str(script)],
        input=script.read_text() if from_stdin else None,
        capture_output=True,
        text=True,
        timeout=50,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "script\ndone\n"


@pytest.mark.parametrize("work", ["time.sleep(300)", "sum(range(10**12))"], ids=["asleep", "holding-the-GIL-in-C-code"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_no_worker_outlives_the_process_of_the_flow(home: Path, tmp_path: Path, folder: str, work: str, number: int):
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT % work)
    process = subprocess.Popen(
        [sys.executable, str(script), folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE, process_group=0
    )
    try:
        deadline = time.monotonic() + 90
        while len(os.listdir(folder)) < 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        workers = [int(name) for name in os.listdir(folder)]
        # As Ctrl-C in a terminal does it: to the whole foreground group.
        os.killpg(process.pid, number)
        for worker in workers:
            assert dies(worker)
        process.communicate(timeout=90)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


# --- how much --------------------------------------------------------------------------------------------------


def test_calls_sent_ahead_go_to_an_idle_worker_when_the_first_takes_long(runner: ProcessPoolTaskRunner, folder: str):
    def sometimes_long(folder: str, me: str) -> str:
        if me == "long":
            meet(folder, "long", "last")
        elif me == "last":
            arrive(folder, "last")
        return me

    outcomes_of(runner.submit_many([make_call(sometimes_long, folder=folder, me="x").call for _ in range(60)]))
    names = ["long", *(f"x{n}" for n in range(60)), "last"]
    handles = runner.submit_many([make_call(sometimes_long, folder=folder, me=name).call for name in names])
    # "last" may have been sent ahead behind "long", which waits for it.
    assert [outcome.state.result() for outcome in outcomes_of(handles)] == names


def test_a_recorder_that_refuses_events_gives_them_to_the_engine(one_worker: ProcessPoolTaskRunner, folder: str):
    class Refusing(list[Any]):
        refused = 0

        def append(self, event: Any) -> None:
            del event
            self.refused += 1
            raise RuntimeError("no more records")

    made = make_call(meet, folder=folder, me="here", other="release")
    recorder = Refusing()
    call: TaskCall = made.call
    call.recorder = recorder
    handle = one_worker.submit(call)
    deadline = time.monotonic() + 90
    while not recorder.refused:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    arrive(folder, "release")
    outcome = outcome_of(handle)
    states = [event.state.name for event in outcome.events if isinstance(event, TaskRunEntered)]
    assert states == ["Running", "Completed"]
