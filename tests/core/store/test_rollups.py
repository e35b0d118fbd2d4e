"""The counts that are kept are those that counting gives, whatever happens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from flowyard.local.backend import LocalBackend
from flowyard.ports import Lease, Recorder
from flowyard.schemas.runs import TaskRun
from flowyard.schemas.states import StateType
from flowyard.services import reaper
from flowyard.store import queries
from flowyard.testing.records import NOON, begin, enter, make_task_run, record


class Rollups(RuleBasedStateMachine):
    flow_runs = Bundle("flow_runs")
    task_runs = Bundle("task_runs")

    def __init__(self) -> None:
        super().__init__()
        self.backend = LocalBackend.in_memory()
        self.leases: dict[Any, Lease] = {}
        self.number = 0

    def teardown(self) -> None:
        self.backend.close()

    def _recorder(self, flow_run_id: Any) -> Recorder:
        return self.backend.journal.recorder(self.leases[flow_run_id])

    @initialize(target=flow_runs)
    def first_flow_run(self) -> Any:
        return self.begin_flow_run()

    @rule(target=flow_runs)
    def begin_flow_run(self) -> Any:
        run, lease = begin(self.backend)
        self.leases[run.id] = lease
        return run.id

    @rule(
        target=task_runs,
        flow_run_id=flow_runs,
        task=st.sampled_from(["a", "b"]),
        types=st.lists(st.sampled_from(StateType), max_size=3),
    )
    def call_task(self, flow_run_id: Any, task: str, types: list[StateType]) -> Any:
        self.number += 1
        run = make_task_run(flow_run_id, self.number, task_name=task)
        if flow_run_id in self.leases:
            record(self._recorder(flow_run_id), run, types)
        return run

    @rule(run=task_runs, types=st.lists(st.sampled_from(StateType), min_size=1, max_size=3), second=st.integers(0, 99))
    def enter_states(self, run: TaskRun, types: list[StateType], second: int) -> None:
        if run.flow_run_id in self.leases:
            enter(self._recorder(run.flow_run_id), run, types, start=NOON + timedelta(seconds=second))

    @rule()
    def flush(self) -> None:
        self.backend.journal.flush()

    @rule()
    def forget(self) -> None:
        """Let the projection read its rows again."""
        self.backend.journal.perform(lambda _: self.backend.journal.forget(set(self.leases)))

    @rule(flow_run_id=consumes(flow_runs))
    def delete_flow_run(self, flow_run_id: Any) -> None:
        self.backend.control.delete_flow_run(flow_run_id)
        del self.leases[flow_run_id]
        assert self.backend.control.task_run_counts(flow_run_id) == {}

    @rule(flow_run_id=consumes(flow_runs))
    def lose_process(self, flow_run_id: Any) -> None:
        journal = self.backend.journal

        def crash(connection: Any) -> None:
            journal.forget({flow_run_id})
            reaper.crash_flow_run(connection, flow_run_id, "process 1", now=NOON)

        journal.perform(crash)
        self._check(flow_run_id)
        del self.leases[flow_run_id]

    @invariant()
    def counts_are_right(self) -> None:
        for flow_run_id in self.leases:
            self._check(flow_run_id)

    def _check(self, flow_run_id: Any) -> None:
        counted = self.backend.journal.execute(lambda connection: queries.rollups.recount(connection, flow_run_id))
        assert self.backend.control.task_run_counts(flow_run_id) == counted


Rollups.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestRollups = Rollups.TestCase
