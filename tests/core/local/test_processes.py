"""Several processes on one database: writing at once, dying, being found dead."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flowyard.exceptions import LeaseLost
from flowyard.local.backend import LocalBackend
from flowyard.schemas.runs import FlowRun, utcnow
from flowyard.schemas.states import State, StateType
from flowyard.services import ownership
from flowyard.testing.records import begin, make_task_run, record

S = StateType

PRELUDE = """
import os, sys, threading
from pathlib import Path
from flowyard.local.backend import LocalBackend
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import State, StateType as S
from flowyard.testing.records import begin, enter, make_line, make_task_run, record
url, home = sys.argv[1], Path(sys.argv[2])

def say(*words):
    print(*words, flush=True)

"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("postgres_url") if request.param == "postgresql" else sqlite_url(tmp_path)


def sqlite_url(home: Path) -> str:
    return f"sqlite:///{home}/flowyard.db"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def act(url: str, script: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PRELUDE + textwrap.dedent(script), url, str(tmp_path)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield act
    for process in started:
        process.kill()
        process.communicate()


def hear(process: subprocess.Popen[str]) -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


RUNS = """
backend = LocalBackend.open(url, home)
run, lease = begin(backend)
recorder = backend.journal.recorder(lease)
done, running, pending = (make_task_run(run.id, number) for number in range(3))
record(recorder, done)
record(recorder, running, (S.PENDING, S.RUNNING))
record(recorder, pending, (S.PENDING,))
child, _ = begin(backend, "child", parent_task_run_id=running.id)
ended, ended_lease = begin(backend)
backend.control.propose_flow_run_state(ended.id, State(S.COMPLETED), lease=ended_lease)
record(backend.journal.recorder(None), make_task_run(None))
backend.journal.flush()
say(run.id, child.id, os.getpid())
"""


def test_what_a_killed_process_was_doing_is_found_crashed(
    url: str, tmp_path: Path, start: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    process = start(url, RUNS + "sys.stdin.read()")
    run_id, child_id, pid = hear(process)
    with LocalBackend.open(url, tmp_path) as backend:
        assert backend.control.reap_dead_runs(utcnow()) == []
        kill(process)
        now = utcnow()
        assert {str(found) for found in backend.control.reap_dead_runs(now)} == {run_id, child_id}
        assert backend.control.reap_dead_runs(now) == [], "the second look finds nothing"
        runs = {str(run.id): run for run in backend.control.read_flow_runs()}
        for crashed in (runs[run_id], runs[child_id]):
            assert crashed.state is not None
            assert (crashed.state.type, crashed.state.timestamp, crashed.end_time) == (S.CRASHED, now, now)
            message = crashed.state.message or ""
            assert f"process {pid} on host {ownership.host_name()}, started " in message
        assert [state.type for state in backend.control.read_flow_run_states(runs[run_id].id)] == [
            S.PENDING,
            S.RUNNING,
            S.CRASHED,
        ]
        assert backend.control.task_run_counts(runs[run_id].id) == {("work", "Completed"): 1, ("work", "Crashed"): 2}
        for task_run in backend.control.read_task_runs():
            if task_run.flow_run_id is not None:
                last = backend.control.read_task_run_states(task_run.id)[-1]
                assert last == task_run.state
                assert last.state_details.task_run_id == task_run.id
        others = [run for key, run in runs.items() if key not in (run_id, child_id)]
        assert [run.state_type for run in others] == [S.COMPLETED]
        lock_files = list((tmp_path / "owners").iterdir())
        assert len(lock_files) == 1, "only that of this process is left"


def test_a_run_whose_process_holds_the_interpreter_lock_is_left_alone(
    url: str, tmp_path: Path, start: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    process = start(url, RUNS + "import ctypes; ctypes.PyDLL(None).sleep(60)")
    hear(process)
    with LocalBackend.open(url, tmp_path) as backend:
        assert backend.control.reap_dead_runs(utcnow() + timedelta(hours=1)) == []
        assert process.poll() is None


def test_of_two_processes_that_look_only_one_marks_the_run(
    url: str, tmp_path: Path, start: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    process = start(url, RUNS + "sys.stdin.read()")
    run_id, *_ = hear(process)
    kill(process)
    look = "backend = LocalBackend.open(url, home)\nsay('ready')\nsys.stdin.readline()\n"
    look += "say(*backend.control.reap_dead_runs(utcnow()), '.')\nbackend.close()"
    lookers = [start(url, look) for _ in range(2)]
    for looker in lookers:
        assert hear(looker) == ["ready"]
    for looker in lookers:
        assert looker.stdin is not None
        looker.stdin.write("\n")
        looker.stdin.flush()
    found = [hear(looker) for looker in lookers]
    assert sorted(map(len, found)) == [1, 3]
    with LocalBackend.open(url, tmp_path) as backend:
        run = next(run for run in backend.control.read_flow_runs() if str(run.id) == run_id)
        assert len(backend.control.read_flow_run_states(run.id)) == 3


def test_the_run_of_a_dead_process_can_be_taken_over_and_not_that_of_a_living_one(
    url: str, tmp_path: Path, start: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    process = start(url, RUNS + "sys.stdin.read()")
    run_id, *_ = hear(process)
    with LocalBackend.open(url, tmp_path) as backend:
        stored = next(run for run in backend.control.read_flow_runs() if str(run.id) == run_id)
        again = FlowRun(flow_id=stored.flow_id, name="again", id=stored.id)
        with pytest.raises(LeaseLost):
            backend.control.begin_flow_run("flow", again)
        kill(process)
        lease = backend.control.begin_flow_run("flow", again)
        assert again.state_type is S.RUNNING
        assert backend.control.task_run_counts(stored.id) == {("work", "Completed"): 1, ("work", "Crashed"): 2}
        record(backend.journal.recorder(lease), make_task_run(stored.id, 3))
        backend.control.propose_flow_run_state(stored.id, State(S.COMPLETED), lease=lease)
        assert backend.control.reap_dead_runs(utcnow()) != [stored.id]
        assert backend.control.read_flow_run(stored.id).state_type is S.COMPLETED


def test_a_reaped_process_that_lives_after_all_is_refused(
    tmp_path: Path, start: Callable[[str, str], subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = """
    sys.stdin.readline()
    enter(recorder, running, (S.COMPLETED,))
    try:
        backend.journal.flush()
    except Exception as error:
        say(type(error).__name__)
    try:
        backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
    except Exception as error:
        say(type(error).__name__)
    """
    url = sqlite_url(tmp_path)
    process = start(url, RUNS + textwrap.dedent(late))
    hear(process)
    with LocalBackend.open(url, tmp_path) as backend:
        # Nothing in Flowyard takes a living process for dead; something else may.
        monkeypatch.setattr(ownership, "is_alive", lambda *_, **__: False)
        assert len(backend.control.reap_dead_runs(utcnow())) == 2
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert hear(process) == ["LeaseLost"]
        assert hear(process) == ["LeaseLost"]
        assert {run.state_type for run in backend.control.read_flow_runs()} == {S.CRASHED, S.COMPLETED}


def test_leases_on_a_server_expire_for_other_hosts_and_come_back_if_nobody_took_them(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalBackend.open(postgres_url, tmp_path) as owner, LocalBackend.open(postgres_url, tmp_path) as looker:
        run, lease = begin(owner)
        later = utcnow() + timedelta(minutes=5)
        with owner.database.writing() as connection:  # the keeper was cut off from the server
            connection.exec_driver_sql("UPDATE lease SET expires = 1")
        record(owner.journal.recorder(lease), make_task_run(run.id))
        owner.journal.flush()
        assert owner.control.read_flow_run(run.id).state_type is S.RUNNING
        with owner.database.writing() as connection:
            connection.exec_driver_sql("UPDATE lease SET expires = 1")
        # The other backend looks from another host, and another process.
        monkeypatch.setattr(ownership, "host_name", lambda: "another-host")
        monkeypatch.setattr(ownership, "_ANNOUNCED", set[object]())
        assert looker.control.reap_dead_runs(later) == [run.id]
        with pytest.raises(LeaseLost):
            owner.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)


def test_what_a_killed_process_was_told_is_on_disk_is(
    tmp_path: Path, start: Callable[[str, str], subprocess.Popen[str]]
) -> None:
    script = """
    backend = LocalBackend.open(url, home)
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    import itertools
    for number in itertools.count():
        record(recorder, make_task_run(run.id, number))
        if number % 7 == 6:
            backend.journal.flush()
            say(number + 1)
    """
    process = start(sqlite_url(tmp_path), script)
    told = 0
    for _ in range(20):
        [word] = hear(process)
        told = int(word)
    process.kill()
    rest = process.communicate()[0].split()
    told = max([told, *map(int, rest)])
    with LocalBackend.open(sqlite_url(tmp_path), tmp_path) as backend:
        with backend.database.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        found = backend.control.count_task_runs()
        assert found >= told > 0
        [run] = backend.control.read_flow_runs()
        assert sum(backend.control.task_run_counts(run.id).values()) == found
        assert backend.control.reap_dead_runs(utcnow()) == [run.id]


# One process that imports everything once and forks the writers before it opens anything: starting sixteen
# interpreters would be most of the test.
WRITERS = """
count, tasks = int(sys.argv[3]), int(sys.argv[4])
children = []
read, write = os.pipe()
for number in range(count):
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # all start at once, when the pipe is closed
        status = 1
        try:
            backend = LocalBackend.open(url, home)
            run, lease = begin(backend)
            recorder = backend.journal.recorder(lease)
            for task in range(tasks):
                record(recorder, make_task_run(run.id, task))
            backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
            backend.close()
            status = 0
        except BaseException as error:
            say(type(error).__name__, error)
        os._exit(status)
    children.append(child)
os.close(read)
os.close(write)
say(*[os.waitpid(child, 0)[1] for child in children])
"""


def check_writers(url: str, home: Path, processes: int, tasks: int) -> None:
    command = [sys.executable, "-c", PRELUDE + WRITERS, url, str(home), str(processes), str(tasks)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"] * processes, done.stdout + done.stderr
    assert done.stderr == ""
    with LocalBackend.open(url, home) as backend:
        runs = backend.control.read_flow_runs()
        assert [run.state_type for run in runs] == [S.COMPLETED] * processes
        for run in runs:
            assert backend.control.task_run_counts(run.id) == {("work", "Completed"): tasks}
        assert backend.control.count_task_runs() == processes * tasks
        assert len(backend.control.read_flows()) == 1
        with backend.database.reading() as connection:
            states = connection.exec_driver_sql("SELECT count(*) FROM task_run_state").scalar()
        assert states == 3 * processes * tasks


def test_eight_processes_make_and_fill_one_file_at_once(tmp_path: Path) -> None:
    check_writers(sqlite_url(tmp_path), tmp_path, 8, 60)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixteen_processes_write_a_thousand_tasks_each_into_one_file(tmp_path: Path) -> None:
    check_writers(sqlite_url(tmp_path), tmp_path, 16, 1000)


def test_eight_processes_make_and_fill_the_tables_of_one_server_at_once(
    empty_postgres_url: str, tmp_path: Path
) -> None:
    check_writers(empty_postgres_url, tmp_path, 8, 20)


def test_nothing_is_left_behind_by_many_backends(tmp_path: Path) -> None:
    for number in range(5):
        with LocalBackend.open(sqlite_url(tmp_path), tmp_path) as backend:
            run, lease = begin(backend)
            record(backend.journal.recorder(lease), make_task_run(run.id, number))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["flowyard.db", "owners"]
