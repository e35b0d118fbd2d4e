"""What every control plane must do. Subclass `BackendContract` in a test module and override its fixtures."""

# ruff: noqa: D102  the names of the tests are sentences

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from flowyard.exceptions import LeaseLost, ObjectNotFound
from flowyard.ports import Backend, Lease
from flowyard.schemas.events import TaskRunMeasured
from flowyard.schemas.filters import FlowRunFilter, LogFilter, TaskRunFilter
from flowyard.schemas.ids import new_id
from flowyard.schemas.metrics import TaskMetrics
from flowyard.schemas.orchestration import OrchestrationResult, Verdict
from flowyard.schemas.policies import RetryPolicy
from flowyard.schemas.runs import FlowRun, StartInfo, utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.testing.records import NOON, begin, enter, make_line, make_task_run, record

S = StateType


class BackendContract:
    """Flow runs and what hangs on them, through the port `ControlPlane`."""

    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        """Return an empty backend."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def usurp(self, backend: Backend) -> Callable[[UUID], None]:
        """Return a function that makes another process the owner of a flow run."""
        raise NotImplementedError("override the fixture `usurp`")

    # --- flow runs ------------------------------------------------------------------------------------------

    def test_a_flow_run_is_read_as_it_was_begun(self, backend: Backend) -> None:
        parent = new_id()
        run = FlowRun(
            flow_id=new_id(),
            name="brave-otter",
            flow_version="v1",
            parameters={"n": 1, "names": ["é", None], "deep": {"x": 1.5}},
            context={"key": "value"},
            tags=["b", "a"],
            policy=RetryPolicy(2, (5.0,), 0.1, 1),
            parent_task_run_id=parent,
            start=StartInfo("flow.py:f", "hash", "folder", None),
            state=State(S.PENDING, timestamp=NOON),
        )
        backend.control.begin_flow_run("my-flow", run)
        found = backend.control.read_flow_run(run.id)
        for name in set(FlowRun.__slots__) - {"start", "state"}:
            assert getattr(found, name) == getattr(run, name), name
        assert asdict(found.start) == asdict(run.start)
        assert found.expected_start_time == NOON
        assert found.state is not None
        assert run.state is not None
        assert (found.state.id, found.state.type) == (run.state.id, S.PENDING)
        assert found.state.state_details.flow_run_id == run.id

    def test_flows_are_registered_once_by_name(self, backend: Backend) -> None:
        first, _ = begin(backend, "one")
        second, _ = begin(backend, "one")
        third, _ = begin(backend, "two")
        assert first.flow_id == second.flow_id != third.flow_id
        assert backend.control.read_flow(first.flow_id).name == "one"
        assert [flow.name for flow in backend.control.read_flows()] == ["two", "one"]
        assert [flow.name for flow in backend.control.read_flows(limit=1, offset=1)] == ["one"]

    def test_what_does_not_exist_is_said_by_name(self, backend: Backend) -> None:
        nobody = new_id()
        calls: list[Callable[[], object]] = [
            lambda: backend.control.read_flow_run(nobody),
            lambda: backend.control.read_flow(nobody),
            lambda: backend.control.read_task_run(nobody),
            lambda: backend.control.read_task_run_states(nobody),
            lambda: backend.control.delete_flow_run(nobody),
            lambda: backend.control.update_flow_run(nobody, name="x"),
            lambda: backend.control.propose_flow_run_state(nobody, State(S.RUNNING)),
        ]
        for call in calls:
            with pytest.raises(ObjectNotFound, match=str(nobody)):
                call()

    def test_changes_of_a_flow_run_are_kept(self, backend: Backend) -> None:
        run, _ = begin(backend)
        backend.control.update_flow_run(run.id, name="new", flow_version="v2", tags=["t"], parameters={"a": 2})
        found = backend.control.read_flow_run(run.id)
        assert (found.name, found.flow_version, found.tags, found.parameters) == ("new", "v2", ["t"], {"a": 2})
        assert found.state_type is S.RUNNING

    def test_what_cannot_be_changed_is_refused_by_name(self, backend: Backend) -> None:
        run, _ = begin(backend)
        with pytest.raises(ValueError, match="run_count"):
            backend.control.update_flow_run(run.id, run_count=5)

    # --- transitions ----------------------------------------------------------------------------------------

    def test_an_accepted_state_becomes_the_current_one(self, backend: Backend) -> None:
        run, lease = begin(backend)
        state: State[Any] = State(S.COMPLETED, message="done")
        result = backend.control.propose_flow_run_state(run.id, state, lease=lease)
        assert (result.status, result.state) == (Verdict.ACCEPT, state)
        found = backend.control.read_flow_run(run.id)
        assert (found.state, found.run_count, found.end_time) == (state, 1, state.timestamp)
        types = [state.type for state in backend.control.read_flow_run_states(run.id)]
        assert types == [S.PENDING, S.RUNNING, S.COMPLETED]

    def test_an_aborted_state_changes_nothing(self, backend: Backend) -> None:
        run, _ = begin(backend)
        result = backend.control.propose_flow_run_state(run.id, State(S.PENDING))
        assert result.status is Verdict.ABORT
        assert result.reason
        assert backend.control.read_flow_run(run.id).state_type is S.RUNNING
        assert len(backend.control.read_flow_run_states(run.id)) == 2

    def test_a_failure_with_retries_left_is_replaced_by_a_retry(self, backend: Backend) -> None:
        run, lease = begin(backend, policy=RetryPolicy(1, (60.0,)))
        result = backend.control.propose_flow_run_state(run.id, State(S.FAILED), lease=lease)
        assert result.status is Verdict.REJECT
        assert result.state is not None
        assert (result.state.type, result.state.name) == (S.SCHEDULED, "AwaitingRetry")
        found = backend.control.read_flow_run(run.id)
        assert found.retry_type == "in_process"
        assert found.next_scheduled_start_time == result.state.state_details.scheduled_time
        early = backend.control.propose_flow_run_state(run.id, State(S.RUNNING), lease=lease)
        assert early.status is Verdict.WAIT
        assert 0 < early.delay_seconds <= 60

    def test_a_retried_flow_run_counts_its_attempts_and_those_of_its_tasks(self, backend: Backend) -> None:
        run, lease = begin(backend, policy=RetryPolicy(1))
        backend.control.propose_flow_run_state(run.id, State(S.FAILED), lease=lease)
        backend.control.propose_flow_run_state(run.id, State(S.RUNNING), lease=lease)
        task_run = make_task_run(run.id)
        record(backend.journal.recorder(lease), task_run)
        assert backend.control.read_flow_run(run.id).run_count == 2
        assert backend.control.read_task_run(task_run.id).flow_run_run_count == 2

    def test_force_overrides_the_rules(self, backend: Backend) -> None:
        run, lease = begin(backend)
        backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
        assert backend.control.propose_flow_run_state(run.id, State(S.CRASHED)).status is Verdict.ABORT
        assert backend.control.propose_flow_run_state(run.id, State(S.CRASHED), force=True).status is Verdict.ACCEPT
        assert backend.control.read_flow_run(run.id).state_type is S.CRASHED

    def test_of_two_that_propose_the_same_only_one_is_accepted(self, backend: Backend) -> None:
        run = FlowRun(flow_id=new_id(), name="x", state=State(S.SCHEDULED, state_details={"scheduled_time": NOON}))
        backend.control.begin_flow_run("flow", run)
        results: list[OrchestrationResult] = []
        barrier = threading.Barrier(8)

        def propose() -> None:
            barrier.wait()
            results.append(backend.control.propose_flow_run_state(run.id, State(S.PENDING)))

        threads = [threading.Thread(target=propose) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(result.status for result in results) == [Verdict.ABORT] * 7 + [Verdict.ACCEPT]

    def test_a_stale_lease_cannot_propose(self, backend: Backend, usurp: Callable[[UUID], None]) -> None:
        run, lease = begin(backend)
        usurp(run.id)
        with pytest.raises(LeaseLost, match=str(run.id)):
            backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
        assert backend.control.read_flow_run(run.id).state_type is S.RUNNING

    def test_a_run_of_a_living_process_cannot_be_taken(self, backend: Backend) -> None:
        run, lease = begin(backend)
        assert backend.control.reap_dead_runs(utcnow() + timedelta(hours=1)) == []
        assert backend.control.read_flow_run(run.id).state_type is S.RUNNING
        record(backend.journal.recorder(lease), make_task_run(run.id))
        backend.journal.flush()

    def test_beginning_a_known_run_takes_it_over_as_it_is(self, backend: Backend) -> None:
        run, lease = begin(backend, parameters={"n": 1})
        record(backend.journal.recorder(lease), make_task_run(run.id))
        again = FlowRun(flow_id=new_id(), name="ignored", id=run.id)
        newer = backend.control.begin_flow_run("flow", again)
        assert newer.token > lease.token
        assert (again.name, again.parameters, again.run_count) == (run.name, {"n": 1}, 1)
        assert again.state_type is S.RUNNING
        with pytest.raises(LeaseLost):
            backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=lease)
        assert backend.control.count_task_runs() == 1

    def test_a_lease_of_another_run_does_not_count(self, backend: Backend) -> None:
        run, lease = begin(backend)
        with pytest.raises(LeaseLost):
            backend.control.propose_flow_run_state(run.id, State(S.COMPLETED), lease=Lease(run.id, lease.token + 1))

    # --- deleting -------------------------------------------------------------------------------------------

    def test_deleting_a_flow_run_deletes_what_hangs_on_it_and_nothing_else(self, backend: Backend) -> None:
        runs: list[tuple[FlowRun, UUID]] = []
        for _ in range(2):
            run, lease = begin(backend)
            task_run = make_task_run(run.id)
            recorder = backend.journal.recorder(lease)
            record(recorder, task_run)
            recorder.append(make_line(run.id, "line"))
            runs.append((run, task_run.id))
        (gone, gone_task), (kept, kept_task) = runs
        child, _ = begin(backend, parent_task_run_id=gone_task)
        backend.control.delete_flow_run(gone.id)
        for call in (
            lambda: backend.control.read_flow_run(gone.id),
            lambda: backend.control.read_task_run(gone_task),
            lambda: backend.control.read_task_run_states(gone_task),
        ):
            with pytest.raises(ObjectNotFound):
                call()
        assert backend.control.read_flow_run_states(gone.id) == []
        assert backend.control.read_logs(LogFilter(flow_run_id=gone.id)) == []
        assert backend.control.task_run_counts(gone.id) == {}
        assert backend.control.read_task_run(kept_task).flow_run_id == kept.id
        assert len(backend.control.read_logs(LogFilter(flow_run_id=kept.id))) == 1
        assert backend.control.read_flow_run(child.id).parent_task_run_id is None

    def test_the_owner_of_a_deleted_run_is_told(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        task_run = make_task_run(run.id)
        record(recorder, task_run, (S.PENDING, S.RUNNING))
        backend.control.delete_flow_run(run.id)
        recorder.append(make_line(run.id, "late"))
        with pytest.raises(LeaseLost):
            backend.journal.flush()
        assert backend.control.count_task_runs() == 0

    # --- lists ----------------------------------------------------------------------------------------------

    def test_flow_runs_are_listed_newest_first_and_in_pages(self, backend: Backend) -> None:
        runs = [begin(backend)[0].id for _ in range(5)]
        assert [run.id for run in backend.control.read_flow_runs()] == runs[::-1]
        assert [run.id for run in backend.control.read_flow_runs(limit=2, offset=1)] == [runs[3], runs[2]]

    def test_filters_of_flow_runs_hold_together(self, backend: Backend) -> None:
        parent = new_id()
        first, lease = begin(backend, "one", tags=["a", "b"])
        second, _ = begin(backend, "two", tags=["a"], parent_task_run_id=parent)
        backend.control.propose_flow_run_state(first.id, State(S.COMPLETED, "Fine"), lease=lease)
        for where, expected in (
            (FlowRunFilter(ids=(first.id,)), {first.id}),
            (FlowRunFilter(flow_names=("one",)), {first.id}),
            (FlowRunFilter(flow_names=("one", "two")), {first.id, second.id}),
            (FlowRunFilter(state_types=(S.RUNNING, S.FAILED)), {second.id}),
            (FlowRunFilter(state_names=("fINE",)), {first.id}),
            (FlowRunFilter(tags_all=("a",)), {first.id, second.id}),
            (FlowRunFilter(tags_all=("a", "b")), {first.id}),
            (FlowRunFilter(tags_all=("c",)), set[UUID]()),
            (FlowRunFilter(parent_task_run_ids=(parent,)), {second.id}),
            (FlowRunFilter(tags_all=("a",), state_types=(S.COMPLETED,)), {first.id}),
            (FlowRunFilter(ids=()), set[UUID]()),
        ):
            assert {run.id for run in backend.control.read_flow_runs(where)} == expected, where
            assert backend.control.count_flow_runs(where) == len(expected), where
        assert backend.control.count_flow_runs() == 2

    def test_filters_of_task_runs_hold_together(self, backend: Backend) -> None:
        run, lease = begin(backend)
        other, other_lease = begin(backend)
        first, second, third = make_task_run(run.id, 0), make_task_run(run.id, 1), make_task_run(other.id, 0)
        record(backend.journal.recorder(lease), first)
        record(backend.journal.recorder(lease), second, (S.PENDING,))
        record(backend.journal.recorder(other_lease), third)
        for where, expected in (
            (None, [third.id, second.id, first.id]),
            (TaskRunFilter(ids=(first.id, third.id)), [third.id, first.id]),
            (TaskRunFilter(flow_run_ids=(run.id,)), [second.id, first.id]),
            (TaskRunFilter(names=("work-0",)), [third.id, first.id]),
            (TaskRunFilter(state_types=(S.PENDING,)), [second.id]),
            (TaskRunFilter(state_names=("completed",), flow_run_ids=(run.id,)), [first.id]),
        ):
            assert [found.id for found in backend.control.read_task_runs(where)] == expected, where
            assert backend.control.count_task_runs(where) == len(expected), where
        assert [found.id for found in backend.control.read_task_runs(limit=1, offset=1)] == [second.id]

    def test_timings_are_read_in_the_order_of_creation_and_in_pages(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        task_runs = [make_task_run(run.id, number) for number in range(5)]
        for task_run in task_runs:
            record(recorder, task_run)
        record(recorder, make_task_run(begin(backend)[0].id))
        whole = backend.control.read_task_timings(run.id)
        assert [timing.id for timing in whole] == [task_run.id for task_run in task_runs]
        pages = [backend.control.read_task_timings(run.id, limit=2)]
        while pages[-1]:
            pages.append(backend.control.read_task_timings(run.id, after=pages[-1][-1].id, limit=2))
        assert [len(page) for page in pages] == [2, 2, 1, 0]
        assert [timing for page in pages for timing in page] == whole

    def test_a_timing_says_where_the_time_went(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        first = make_task_run(run.id, 0)
        record(recorder, first)
        inputs = {
            "x": [{"input_type": "task_run", "id": str(first.id)}],
            "y": [{"input_type": "parameter", "name": "y"}, {"input_type": "task_run", "id": "of a later release"}],
        }
        second = make_task_run(run.id, 1, task_inputs=inputs, parent_task_run_id=first.id)
        record(recorder, second, (S.PENDING, S.RUNNING, S.SCHEDULED, S.RUNNING))
        measured = TaskMetrics(worker="worker-1", run_seconds=0.5)
        recorder.append(TaskRunMeasured(second.id, measured))
        enter(recorder, second, [S.FAILED], start=NOON + timedelta(seconds=9))
        once, retried = backend.control.read_task_timings(run.id)
        assert (once.start_time, once.end_time) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=2))
        assert (once.states, once.upstream, once.metrics) == ((), (), None)
        assert (retried.name, retried.task_name) == ("work-1", "work")
        assert (retried.upstream, retried.parent_task_run_id) == ((first.id,), first.id)
        assert (retried.run_count, retried.state_type) == (2, S.FAILED)
        assert retried.metrics == measured
        assert [kind for kind, _, _ in retried.states] == [S.PENDING, S.RUNNING, S.SCHEDULED, S.RUNNING, S.FAILED]
        assert retried.states[-1][2] == NOON + timedelta(seconds=9)

    def test_filters_of_log_lines_hold_together(self, backend: Backend) -> None:
        run, lease = begin(backend)
        recorder = backend.journal.recorder(lease)
        task_run = make_task_run(run.id)
        record(recorder, task_run)
        recorder.append(make_line(run.id, "a", second=1))
        recorder.append(make_line(run.id, "b", second=2, task_run_id=task_run.id))
        recorder.append(make_line(run.id, "c", second=3, task_run_id=task_run.id, level=40))
        for where, expected in (
            (LogFilter(flow_run_id=run.id), ["a", "b", "c"]),
            (LogFilter(task_run_id=task_run.id), ["b", "c"]),
            (LogFilter(flow_run_id=run.id, task_run_id=task_run.id), ["b", "c"]),
            (LogFilter(level_at_least=30), ["c"]),
            (LogFilter(), ["a", "b", "c"]),
        ):
            assert [line.message for line in backend.control.read_logs(where)] == expected, where
        paged = backend.control.read_logs(LogFilter(flow_run_id=run.id), limit=1, offset=1)
        assert [line.message for line in paged] == ["b"]

    def test_a_stored_value_is_described_not_kept(self, backend: Backend) -> None:
        run, lease = begin(backend)

        class Reference:
            def get(self) -> Any:
                return 5

            def to_record(self) -> dict[str, Any]:
                return {"type": "reference", "storage_key": "k"}

        details = StateDetails(flow_run_id=run.id)
        state: State[Any] = State(S.COMPLETED, data=Reference(), state_details=details)
        backend.control.propose_flow_run_state(run.id, state, lease=lease)
        found = backend.control.read_flow_run(run.id).state
        assert found is not None
        assert found.data.to_record() == {"type": "reference", "storage_key": "k"}
