"""What only the journal on a database does: when it commits, what it does when it cannot, and to what durability."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from flowyard.exceptions import BackendError, RecordsNotDurable
from flowyard.local.backend import LocalBackend
from flowyard.schemas.events import TaskRunEntered
from flowyard.schemas.filters import LogFilter, TaskRunFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import State, StateType
from flowyard.store.plain import Driver, PlainConnection
from flowyard.testing.records import begin, enter, make_line, make_task_run, record

S = StateType


@pytest.fixture
def open_backend(tmp_path: Path) -> Iterator[Callable[..., LocalBackend]]:
    opened: list[LocalBackend] = []

    def act(**options: Any) -> LocalBackend:
        opened.append(LocalBackend.open(f"sqlite:///{tmp_path}/flowyard.db", tmp_path, **options))
        return opened[-1]

    yield act
    for backend in opened:
        backend.close()


def comes_true(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait until something is so; False when it never was."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def committed(backend: LocalBackend, table: str = "task_run") -> int:
    """Count rows as another process would: without a barrier."""
    with backend.database.reading() as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()


class Disk:
    """Limits the size of the database file."""

    def __init__(self, backend: LocalBackend) -> None:
        self.pages = 1_000_000
        dialect = backend.database.dialect
        self._connect = dialect.connect
        dialect.connect = self._limited

    def _limited(self) -> Driver:
        connection = self._connect()
        connection.execute(f"PRAGMA max_page_count={self.pages}")
        return connection

    def fill(self, backend: LocalBackend) -> None:
        with backend.database.reading() as connection:
            self.pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one() + 2
        # The writer has its connection already, and so has whoever reads next.
        backend.database.engine.dispose()
        backend.journal.perform(lambda connection: connection.execute(f"PRAGMA max_page_count={self.pages}"))

    def empty(self) -> None:
        self.pages = 1_000_000


# --- when it commits ----------------------------------------------------------------------------------------


def test_events_are_committed_without_anybody_asking(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend()
    run, lease = begin(backend)
    record(backend.journal.recorder(lease), make_task_run(run.id))
    assert comes_true(lambda: committed(backend) == 1)


def test_events_wait_for_others_until_somebody_asks(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend(commit_interval=3600.0)
    run, lease = begin(backend)
    record(backend.journal.recorder(lease), make_task_run(run.id))
    assert committed(backend) == 0
    backend.journal.flush()
    assert committed(backend) == 1


def test_append_waits_while_too_much_is_pending(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend(commit_interval=3600.0, max_pending=10)
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    for number in range(100):
        recorder.append(make_line(run.id, str(number)))
    assert committed(backend, "log") >= 90
    backend.journal.flush()
    assert [line.message for line in backend.control.read_logs(LogFilter(flow_run_id=run.id))] == [
        str(number) for number in range(100)
    ]


def test_an_operation_sees_what_was_appended_before_it(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend(commit_interval=3600.0)
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    for number in range(3):
        record(recorder, make_task_run(run.id, number))
        count = backend.journal.execute(
            lambda connection: connection.exec_driver_sql("SELECT count(*) FROM task_run").scalar_one()
        )
        assert count == number + 1


def test_what_a_failed_operation_wrote_is_undone_and_nothing_else(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend(commit_interval=3600.0)
    run, lease = begin(backend)
    record(backend.journal.recorder(lease), make_task_run(run.id))

    def fail(connection: PlainConnection) -> None:
        connection.execute("DELETE FROM flow_run")
        raise KeyError("no")

    with pytest.raises(KeyError, match="no"):
        backend.journal.perform(fail)
    assert backend.control.count_flow_runs() == 1
    assert backend.control.count_task_runs() == 1


def test_an_operation_inside_an_operation_is_an_error_not_a_deadlock(
    open_backend: Callable[..., LocalBackend],
) -> None:
    backend = open_backend()
    with pytest.raises(BackendError, match="never end"):
        backend.journal.execute(lambda _: backend.control.propose_flow_run_state(new_id(), State(S.RUNNING)))


def test_finished_task_runs_do_not_stay_in_memory(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend()
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    waiting = make_task_run(run.id, 1000)
    record(recorder, waiting, (S.PENDING,))
    for number in range(500):
        record(recorder, make_task_run(run.id, number))
    backend.journal.flush()
    projection = backend.journal._transactions.projection
    assert projection is not None
    assert len(projection) == 1
    enter(recorder, waiting, (S.COMPLETED,))
    backend.journal.flush()
    assert len(projection) == 0


def test_more_unfinished_task_runs_than_fit_in_memory_are_read_again(
    open_backend: Callable[..., LocalBackend], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowyard.store.projection._MAX_ROWS", 10)
    backend = open_backend()
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    runs = [make_task_run(run.id, number) for number in range(50)]
    for task_run in runs:
        record(recorder, task_run, (S.PENDING, S.RUNNING))
    backend.journal.flush()
    assert len(backend.journal._transactions.projection or ()) == 10
    for task_run in runs:
        enter(recorder, task_run, (S.COMPLETED,))
    assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 50}
    assert {found.run_count for found in backend.control.read_task_runs()} == {1}


def test_the_value_of_a_task_is_not_kept_by_an_idle_journal(open_backend: Callable[..., LocalBackend]) -> None:
    class Value:
        pass

    backend = open_backend()
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    task_run = make_task_run(run.id)
    value = Value()
    reference = weakref.ref(value)
    record(recorder, task_run, (S.PENDING, S.RUNNING))
    recorder.append(TaskRunEntered(task_run.id, State(S.COMPLETED, data=value)))
    del value
    backend.journal.flush()
    assert comes_true(lambda: reference() is None)


# --- durability ---------------------------------------------------------------------------------------------


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """`PRAGMA synchronous` as it is when each commit of a writer happens."""
    found: list[int] = []
    commit = PlainConnection.commit

    def spy(connection: PlainConnection) -> None:
        found.append(connection.value("PRAGMA synchronous"))
        commit(connection)

    monkeypatch.setattr(PlainConnection, "commit", spy)
    return found


NORMAL, FULL = 1, 2


def test_a_barrier_commits_with_full_sync_and_the_rest_without(
    open_backend: Callable[..., LocalBackend], levels: list[int]
) -> None:
    backend = open_backend()
    run, lease = begin(backend)
    assert set(levels) == {FULL}
    levels.clear()
    record(backend.journal.recorder(lease), make_task_run(run.id))
    assert comes_true(lambda: committed(backend) == 1)
    assert levels == [NORMAL]
    backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
    assert levels == [NORMAL, FULL]


def test_a_flush_with_nothing_to_write_makes_earlier_commits_durable(
    open_backend: Callable[..., LocalBackend], levels: list[int], tmp_path: Path
) -> None:
    backend = open_backend()
    run, lease = begin(backend)
    record(backend.journal.recorder(lease), make_task_run(run.id))
    assert comes_true(lambda: committed(backend) == 1)
    assert comes_true(lambda: not backend.journal._is_busy)
    levels.clear()
    before = (tmp_path / "flowyard.db-wal").stat().st_mtime_ns
    backend.journal.flush()
    assert levels == [FULL]
    assert (tmp_path / "flowyard.db-wal").stat().st_mtime_ns > before, "SQLite syncs only when there is a page to write"


def test_a_flush_with_everything_durable_costs_no_commit(
    open_backend: Callable[..., LocalBackend], levels: list[int]
) -> None:
    backend = open_backend()
    begin(backend)
    levels.clear()
    backend.journal.flush()
    assert backend.control.count_flow_runs() == 1
    assert levels == []


# --- when it cannot -----------------------------------------------------------------------------------------


def test_a_full_disk_says_what_is_not_durable_and_loses_nothing(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend(give_up_seconds=0.1, commit_interval=3600.0)
    disk = Disk(backend)
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    record(recorder, make_task_run(run.id))
    backend.journal.flush()
    disk.fill(backend)
    for number in range(1, 2001):
        record(recorder, make_task_run(run.id, number))
    with pytest.raises(RecordsNotDurable, match=rf"8000 records of flow run\(s\) {run.id}.*full.*make room") as caught:
        backend.journal.flush()
    assert len("".join(traceback.format_exception(caught.value))) < 20_000, "no statement of a thousand rows"
    with pytest.raises(RecordsNotDurable):
        recorder.append(make_line(run.id, "refused"))
    with pytest.raises(RecordsNotDurable):
        backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
    assert backend.control.count_task_runs() == 1, "what was committed before can be read"
    disk.empty()
    backend.journal.flush()
    assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 2001}
    assert backend.control.read_flow_run(run.id).state_type is S.RUNNING, "the refused state must not come later"
    record(recorder, make_task_run(run.id, 3000))
    backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
    assert backend.control.count_task_runs() == 2002


def test_a_journal_that_gave_up_recovers_by_itself(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend(give_up_seconds=0.1, commit_interval=1.0)  # long enough to append all before it gives up
    disk = Disk(backend)
    run, lease = begin(backend)
    disk.fill(backend)
    recorder = backend.journal.recorder(lease)
    for number in range(100):
        record(recorder, make_task_run(run.id, number))
    with pytest.raises(RecordsNotDurable):
        backend.journal.flush()
    disk.empty()
    assert comes_true(lambda: committed(backend) == 100)


def failing_commits(monkeypatch: pytest.MonkeyPatch, failures: Iterator[str]) -> None:
    """Let commits of the writer fail as `failures` says: "before", "after" (it happened, and nobody said so), "no"."""
    commit = PlainConnection.commit

    def act(connection: PlainConnection) -> None:
        how = next(failures) if threading.current_thread().name == "flowyard-journal" else "no"
        if how != "before":
            commit(connection)
        if how != "no":
            raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(PlainConnection, "commit", act)


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_passing_failure_is_tried_again_and_written_once(
    open_backend: Callable[..., LocalBackend], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    backend = open_backend(commit_interval=3600.0)
    run, lease = begin(backend)
    recorder, outside = backend.journal.recorder(lease), backend.journal.recorder(None)
    known, alone = make_task_run(run.id), make_task_run(None)
    record(recorder, known, (S.PENDING, S.RUNNING))
    record(outside, alone, (S.PENDING, S.RUNNING))
    backend.journal.flush()
    failing_commits(monkeypatch, itertools.chain([how, how], itertools.repeat("no")))
    for events, task_run in ((recorder, known), (outside, alone)):
        enter(events, task_run, (S.SCHEDULED, S.RUNNING, S.COMPLETED))
    recorder.append(make_line(run.id, "once"))
    backend.journal.flush()
    for task_run in (known, alone):
        found = backend.control.read_task_run(task_run.id)
        assert (found.run_count, found.state_type) == (2, S.COMPLETED)
        assert len(backend.control.read_task_run_states(task_run.id)) == 5
    assert len(backend.control.read_logs(LogFilter(flow_run_id=run.id))) == 1
    assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 1}


def test_one_source_with_something_that_cannot_be_stored_does_not_stop_the_others(
    open_backend: Callable[..., LocalBackend],
) -> None:
    backend = open_backend(commit_interval=3600.0)
    bad, bad_lease = begin(backend)
    good, good_lease = begin(backend)
    bad_recorder, good_recorder = backend.journal.recorder(bad_lease), backend.journal.recorder(good_lease)
    record(bad_recorder, make_task_run(bad.id, task_version=3.5))
    record(good_recorder, make_task_run(good.id))
    record(backend.journal.recorder(None), make_task_run(None))
    backend.journal.flush()
    assert backend.control.task_run_counts(good.id) == {("work", "Completed"): 1}
    assert backend.control.count_task_runs(TaskRunFilter(flow_run_ids=(good.id,))) == 1
    with pytest.raises(RecordsNotDurable, match=str(bad.id)):
        bad_recorder.append(make_line(bad.id, "y"))
    record(good_recorder, make_task_run(good.id, 1))
    record(backend.journal.recorder(None), make_task_run(None))
    backend.journal.flush()
    assert backend.control.count_task_runs() == 4


# --- the end ------------------------------------------------------------------------------------------------


def test_a_closed_journal_refuses_and_closes_twice(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend()
    run, lease = begin(backend)
    recorder = backend.journal.recorder(lease)
    record(recorder, make_task_run(run.id))
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        recorder.append(make_line(run.id, "late"))
    with pytest.raises(BackendError, match="closed"):
        backend.control.count_task_runs()
    backend.close()


def run_script(home: Path, script: str, *, returncode: int = 0) -> str:
    code = textwrap.dedent(
        """
        import os, sys
        from pathlib import Path
        from flowyard.local.backend import LocalBackend
        from flowyard.schemas.states import State, StateType as S
        from flowyard.testing.records import begin, enter, make_line, make_task_run, record
        backend = LocalBackend.open(f"sqlite:///{sys.argv[1]}/flowyard.db", Path(sys.argv[1]), give_up_seconds=0.1)
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        """
    ) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True)
    assert done.returncode == returncode, done.stderr
    return done.stdout + done.stderr


def test_a_script_that_ends_without_closing_loses_nothing(
    tmp_path: Path, open_backend: Callable[..., LocalBackend]
) -> None:
    run_script(tmp_path, "for number in range(100): record(recorder, make_task_run(run.id, number))")
    assert open_backend().control.count_task_runs() == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_records_nothing_says_so_once_and_leaves_its_parent_alone(
    tmp_path: Path, open_backend: Callable[..., LocalBackend]
) -> None:
    output = run_script(
        tmp_path,
        """
        record(recorder, make_task_run(run.id, 0))
        child = os.fork()
        if child == 0:
            for number in range(1, 50):
                record(recorder, make_task_run(run.id, number))
            try:
                backend.journal.flush()
            except Exception as error:
                print("flush:", error)
            backend.close()
            sys.exit(0)
        print("child:", os.waitpid(child, 0)[1])
        record(recorder, make_task_run(run.id, 100))
        backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
        print(sorted(os.listdir(sys.argv[1] + "/owners")) != [])
        """,
    )
    assert output.count("this process was forked") == 2, "a warning, and the error of flush"
    assert "flush: this process was forked" in output
    assert "child: 0" in output
    assert "True" in output, "the parent's lock file is still there"
    backend = open_backend()
    assert backend.control.count_task_runs() == 2
    [run] = backend.control.read_flow_runs()
    assert run.state_type is S.COMPLETED


def test_a_file_that_must_not_grow_is_reported_like_a_full_disk(
    tmp_path: Path, open_backend: Callable[..., LocalBackend]
) -> None:
    resource = pytest.importorskip("resource")
    assert resource.RLIMIT_FSIZE
    output = run_script(
        tmp_path,
        """
        import resource
        record(recorder, make_task_run(run.id, 0))
        backend.journal.flush()
        limit = 2 * os.path.getsize(sys.argv[1] + "/flowyard.db-wal")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            for number in range(1, 3000):
                record(recorder, make_task_run(run.id, number))
            backend.journal.flush()
        except Exception as error:
            print("ERROR", type(error).__name__, error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        backend.journal.flush()
        print("COUNT", backend.control.count_task_runs())
        """,
    )
    assert "ERROR RecordsNotDurable" in output
    count = int(output.partition("COUNT ")[2].split()[0])
    assert count > 1
    backend = open_backend()
    assert backend.control.count_task_runs() == count
    [run] = backend.control.read_flow_runs()
    assert backend.control.task_run_counts(run.id)[("work", "Completed")] >= count - 1


def test_the_time_of_a_line_is_kept_to_the_microsecond(open_backend: Callable[..., LocalBackend]) -> None:
    backend = open_backend()
    run, lease = begin(backend)
    line = make_line(run.id, "x")._replace(timestamp=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
    backend.journal.recorder(lease).append(line)
    assert backend.control.read_logs(LogFilter(flow_run_id=run.id)) == [line]


def test_a_server_that_drops_the_connection_is_connected_again(postgres_url: str, tmp_path: Path) -> None:
    with LocalBackend.open(postgres_url, tmp_path) as backend:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        task_run = make_task_run(run.id)
        record(recorder, task_run, (S.PENDING, S.RUNNING))
        pid = backend.journal.execute(lambda connection: connection.exec_driver_sql("SELECT pg_backend_pid()").scalar())
        with backend.database.reading() as connection:
            connection.exec_driver_sql(f"SELECT pg_terminate_backend({pid})")
        enter(recorder, task_run, (S.COMPLETED,))
        backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
        assert backend.control.read_task_run(task_run.id).run_count == 1
        assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 1}
        assert len(backend.control.read_flow_run_states(run.id)) == 3
