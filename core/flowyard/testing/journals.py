"""What every journal must do. Subclass `JournalContract` in a test module and override its fixtures."""

# ruff: noqa: D102  the names of the tests are sentences

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from flowyard.exceptions import LeaseLost
from flowyard.ports import Backend
from flowyard.schemas.events import TaskRunEntered, TaskRunMeasured, TaskRunRenamed
from flowyard.schemas.filters import LogFilter, TaskRunFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.testing.records import LIFE, NOON, begin, enter, make_line, make_task_run, record

S = StateType


class JournalContract:
    """Events go in, rows come out; read through the control plane of the same backend."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """Return an empty backend."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def usurp(self, backend: Backend) -> Callable[[UUID], None]:
        """Return a function that makes another process the owner of a flow run."""
        raise NotImplementedError("override the fixture `usurp`")

    def test_what_was_appended_can_be_read_after_a_flush(self, backend: Backend) -> None:
        run, lease = begin(backend)
        inputs = {"x": [{"input_type": "task_run", "id": str(new_id())}]}
        task_run = make_task_run(
            run.id,
            task_version="v1",
            tags=("a", "b"),
            policy=RetryPolicy(3, (1.0, 2.0), 0.5, 2),
            task_inputs=inputs,
            parent_task_run_id=new_id(),
            cache_key="key",
            cache_expiration=NOON,
        )
        record(backend.journal.recorder(lease), task_run)
        backend.journal.flush()
        found = backend.control.read_task_run(task_run.id)
        for name in (
            "id",
            "flow_run_id",
            "parent_task_run_id",
            "task_key",
            "dynamic_key",
            "name",
            "task_name",
            "task_version",
            "tags",
            "policy",
            "task_inputs",
            "cache_key",
            "cache_expiration",
            "created",
        ):
            assert getattr(found, name) == getattr(task_run, name), name

    def test_states_are_kept_in_order_with_all_they_say(self, backend: Backend) -> None:
        run, lease = begin(backend)
        task_run = make_task_run(run.id)
        recorder = backend.journal.recorder(lease)
        record(recorder, task_run, (S.PENDING, S.RUNNING))
        details = StateDetails(
            flow_run_id=run.id, task_run_id=task_run.id, cache_key="key", cache_expiration=NOON, untrackable_result=True
        )
        last: State[Any] = State(S.COMPLETED, "Cached", "was there", None, details, NOON + timedelta(minutes=1))
        recorder.append(TaskRunEntered(task_run.id, last))
        states = backend.control.read_task_run_states(task_run.id)
        assert [state.type for state in states] == [S.PENDING, S.RUNNING, S.COMPLETED]
        assert states[-1] == last
        found = backend.control.read_task_run(task_run.id)
        assert found.state == last
        assert (found.cache_key, found.cache_expiration) == ("key", NOON)

    @pytest.mark.parametrize("flushes", [False, True], ids=["one batch", "a batch for each state"])
    def test_counters_and_times_follow_the_states(self, backend: Backend, flushes: bool) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        task_run = make_task_run(run.id)
        record(recorder, task_run, ())
        lives = (S.PENDING, S.RUNNING, S.SCHEDULED, S.RUNNING, S.FAILED)
        for number, kind in enumerate(lives):
            if flushes:
                backend.journal.flush()
            enter(recorder, task_run, [kind], start=NOON + timedelta(seconds=number))
        found = backend.control.read_task_run(task_run.id)
        assert found.run_count == 2
        assert found.flow_run_run_count == 1
        assert found.expected_start_time == NOON
        assert found.start_time == NOON + timedelta(seconds=1)
        assert found.end_time == NOON + timedelta(seconds=4)
        assert found.total_run_time == timedelta(seconds=2)
        assert found.next_scheduled_start_time is None
        assert found.state_type is S.FAILED

    @pytest.mark.parametrize("flushes", [False, True], ids=["one batch", "a batch for each event"])
    def test_what_was_measured_is_kept_until_the_run_starts_anew(self, backend: Backend, flushes: bool) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        task_run = make_task_run(run.id)
        measured = TaskMetrics(worker="a\x00b", run_seconds=0.125, bytes_in=2**40)

        def flush() -> None:
            if flushes:
                backend.journal.flush()

        record(recorder, task_run, (S.PENDING, S.RUNNING))
        flush()
        recorder.append(TaskRunMeasured(task_run.id, measured))
        flush()
        enter(recorder, task_run, [S.COMPLETED])
        flush()
        found = backend.control.read_task_run(task_run.id)
        assert found.metrics == measured._replace(worker="a\ufffdb")
        assert found.state_type is S.COMPLETED
        enter(recorder, task_run, LIFE, start=NOON + timedelta(minutes=1))
        assert backend.control.read_task_run(task_run.id).metrics is None

    def test_a_task_run_that_ended_can_start_anew(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        task_run = make_task_run(run.id)
        record(recorder, task_run, (S.PENDING, S.RUNNING, S.FAILED))
        backend.journal.flush()
        enter(recorder, task_run, LIFE, start=NOON + timedelta(minutes=1))
        found = backend.control.read_task_run(task_run.id)
        assert (found.run_count, found.state_type) == (1, S.COMPLETED)
        assert found.start_time == NOON + timedelta(seconds=1)
        assert found.end_time == NOON + timedelta(seconds=62)
        assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 1}
        assert len(backend.control.read_task_run_states(task_run.id)) == 6

    def test_a_new_name_replaces_the_old_one(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        task_run = make_task_run(run.id)
        record(recorder, task_run, (S.PENDING,))
        backend.journal.flush()
        recorder.append(TaskRunRenamed(task_run.id, "work on Monday"))
        assert backend.control.read_task_run(task_run.id).name == "work on Monday"

    def test_counts_by_task_and_state_follow_every_event(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        first, second = make_task_run(run.id, 0), make_task_run(run.id, 1, task_name="rest")
        record(recorder, first, (S.PENDING, S.RUNNING))
        record(recorder, second, (S.PENDING,))
        counts = backend.control.task_run_counts(run.id)
        assert counts == {("work", "Running"): 1, ("rest", "Pending"): 1}
        enter(recorder, first, [S.COMPLETED], start=NOON + timedelta(seconds=5))
        counts = backend.control.task_run_counts(run.id)
        assert counts == {("work", "Completed"): 1, ("rest", "Pending"): 1}

    def test_a_task_outside_of_a_flow_is_recorded(self, backend: Backend) -> None:
        recorder = backend.journal.recorder(None)
        task_run = make_task_run(None)
        record(recorder, task_run)
        recorder.append(make_line(None, "hello", task_run_id=task_run.id))
        backend.journal.flush()
        assert backend.control.read_task_run(task_run.id).flow_run_id is None
        lines = backend.control.read_logs(LogFilter(task_run_id=task_run.id))
        assert [(line.message, line.flow_run_id) for line in lines] == [("hello", None)]

    def test_log_lines_come_back_in_the_order_of_time(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        for second, message in ((2.0, "c"), (0.0, "a"), (0.000001, "b"), (2.0, "d")):
            recorder.append(make_line(run.id, message, second=second))
        lines = backend.control.read_logs(LogFilter(flow_run_id=run.id))
        assert [line.message for line in lines] == ["a", "b", "c", "d"]
        assert lines[1] == make_line(run.id, "b", second=0.000001)
        newest = backend.control.read_logs(LogFilter(flow_run_id=run.id), newest_first=True, limit=2)
        assert [line.message for line in newest] == ["d", "c"]

    def test_text_that_databases_refuse_does_not_stop_the_others(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        recorder.append(make_line(run.id, "nul \x00 and a file name \udc80 é"))
        task_run = make_task_run(run.id, name="\udcff\x00")
        record(recorder, task_run, (S.PENDING,))
        backend.journal.flush()
        [line] = backend.control.read_logs(LogFilter(flow_run_id=run.id))
        assert line.message.startswith("nul ")
        assert line.message.endswith(" é")
        assert backend.control.read_task_run(task_run.id).state_type is S.PENDING

    def test_many_threads_lose_nothing(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)

        def work(thread: int) -> None:
            for number in range(50):
                record(recorder, make_task_run(run.id, thread * 50 + number))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        backend.journal.flush()
        assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 400}
        assert backend.control.count_task_runs(TaskRunFilter(flow_run_ids=(run.id,))) == 400

    def test_an_event_of_an_unknown_task_run_does_no_harm(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        recorder.append(TaskRunEntered(new_id(), State(S.RUNNING)))
        known = make_task_run(run.id)
        record(recorder, known)
        backend.journal.flush()
        assert backend.control.read_task_run(known.id).state_type is S.COMPLETED

    def test_a_stale_owner_is_refused_whole(self, backend: Backend, usurp: Callable[[UUID], None]) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        record(recorder, make_task_run(run.id, 0))
        backend.journal.flush()
        usurp(run.id)
        record(recorder, make_task_run(run.id, 1))
        recorder.append(make_line(run.id, "late"))
        with pytest.raises(LeaseLost, match=str(run.id)):
            backend.journal.flush()
        with pytest.raises(LeaseLost, match=str(run.id)):
            record(recorder, make_task_run(run.id, 2))
        assert backend.control.count_task_runs() == 1
        assert backend.control.read_logs(LogFilter(flow_run_id=run.id)) == []
        assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 1}

    def test_a_lost_run_does_not_stop_another(self, backend: Backend, usurp: Callable[[UUID], None]) -> None:
        lost, lost_lease = begin(backend)
        run, lease = begin(backend)
        usurp(lost.id)
        record(backend.journal.recorder(lost_lease), make_task_run(lost.id))
        recorder = backend.journal.recorder(lease)
        record(recorder, make_task_run(run.id))
        with pytest.raises(LeaseLost, match=str(lost.id)):
            backend.journal.flush()
        record(recorder, make_task_run(run.id, 1))
        backend.journal.flush()
        assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 2}

    def test_two_recorders_of_one_lease_are_both_written(self, backend: Backend) -> None:
        run, lease = begin(backend)
        for number in range(3):
            record(backend.journal.recorder(lease), make_task_run(run.id, number))
            backend.journal.flush()
        assert backend.control.task_run_counts(run.id) == {("work", "Completed"): 3}

    def test_lines_that_follow_the_end_of_a_run_are_kept(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
        recorder.append(make_line(run.id, "Finished in state Completed()"))
        backend.journal.flush()
        assert len(backend.control.read_logs(LogFilter(flow_run_id=run.id))) == 1
