"""The control plane on the store: changes run on the journal's writer thread, reads on connections of their own."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.engine import Connection
from typing_extensions import override

from flowyard.exceptions import LeaseLost, RecordsNotDurable
from flowyard.journal.sql import SqlJournal
from flowyard.local.artifacts import LocalArtifacts
from flowyard.local.blocks import LocalBlocks
from flowyard.local.limits import LocalLimits
from flowyard.local.reading import Reader
from flowyard.local.variables import LocalVariables
from flowyard.ports import ControlPlane, Lease
from flowyard.ports.artifacts import ArtifactStore
from flowyard.ports.blocks import BlockStore
from flowyard.ports.limits import LimitStore
from flowyard.ports.variables import VariableStore
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import LogEmitted
from flowyard.schemas.filters import FlowRunFilter, LogFilter, TaskRunFilter
from flowyard.schemas.metrics import TaskTiming
from flowyard.schemas.orchestration import OrchestrationResult
from flowyard.schemas.runs import Flow, FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.services import orchestration, ownership, reaper
from flowyard.services.lease_keeper import LEASE_SECONDS, LeaseKeeper
from flowyard.store import flow_runs, flows, leases, logs, rollups, states, task_runs, task_timings
from flowyard.store.database import Database
from flowyard.store.leases import Owner

_logger = logging.getLogger("flowyard.local")


class LocalControlPlane(ControlPlane):
    """Runs and their records in the database of this process."""

    def __init__(
        self,
        database: Database,
        journal: SqlJournal,
        owner: Owner,
        keeper: LeaseKeeper | None,
        *,
        encryption_key: str | None = None,
        key_folder: Path | None = None,
    ) -> None:
        self._database = database
        self._dialect = database.dialect
        self._journal = journal
        self._owner = owner
        self._keeper = keeper
        self._unrecorded: dict[UUID, str] = {}
        """Flow runs of this process that ended when nothing could be written, and why: to be marked when it can."""
        self._read = Reader(database, journal)
        self.artifacts: ArtifactStore = LocalArtifacts(database, journal)
        self.limits: LimitStore = LocalLimits(database, journal, owner)
        self.blocks: BlockStore = LocalBlocks(database, journal, key=encryption_key, folder=key_folder)
        self.variables: VariableStore = LocalVariables(database, journal)

    # --- changes ----------------------------------------------------------------------------------------------

    @override
    def begin_flow_run(self, flow_name: str, flow_run: FlowRun) -> Lease:
        if self._keeper is not None:
            self._keeper.start()

        unrecorded = dict(self._unrecorded)

        def begin(connection: Connection) -> int:
            now = datetime.now(UTC)
            self._crash_unrecorded(connection, unrecorded, now)
            if flow_runs.is_there(connection, flow_run.id):
                self._take_over(connection, flow_run, now)
            else:
                flow_run.flow_id = flows.register(connection, self._dialect, flow_name, now)
                flow_run.flow_name = flow_name
                if flow_run.state is not None and flow_run.expected_start_time is None:
                    first, flow_run.state = flow_run.state, None
                    enter_state(flow_run, first)
                flow_runs.insert_flow_run(connection, flow_run)
                if flow_run.state is not None:
                    states.insert_flow_run_state(connection, flow_run.id, flow_run.state)
            self._journal.note_run_count(flow_run.id, flow_run.run_count)
            expires = None if self._keeper is None else now + timedelta(seconds=LEASE_SECONDS)
            return leases.acquire(connection, flow_run.id, self._owner, now=now, expires=expires)

        token = self._journal.execute(begin, flow_run_id=flow_run.id)
        self._forget_unrecorded(unrecorded)
        return Lease(flow_run.id, token)

    def _crash_unrecorded(self, connection: Connection, runs: Mapping[UUID, str], now: datetime) -> list[UUID]:
        if not runs:
            return []
        self._journal.forget(set(runs))
        return [
            run_id
            for run_id, cause in runs.items()
            if reaper.crash_unrecorded(connection, self._dialect, run_id, cause, now=now)
        ]

    def _forget_unrecorded(self, runs: Mapping[UUID, str]) -> None:
        for run_id in runs:
            self._unrecorded.pop(run_id, None)

    def _take_over(self, connection: Connection, flow_run: FlowRun, now: datetime) -> None:
        """Bring `flow_run` to what is stored of it, if its owner is dead or it has none."""
        held = leases.find(connection, flow_run.id)
        if held is not None and held.owner.id != self._owner.id:
            if ownership.is_alive(held, now=now, is_shared_file=self._is_shared_file):
                raise LeaseLost(str(flow_run.id))
            reaper.crash_task_runs(connection, self._dialect, flow_run.id, str(held.owner), now=now)
        self._journal.forget({flow_run.id})
        stored = flow_runs.lock(connection, flow_run.id)
        for name in FlowRun.__slots__:
            setattr(flow_run, name, getattr(stored, name))

    @override
    def propose_flow_run_state(
        self, flow_run_id: UUID, state: State[Any], *, lease: Lease | None = None, force: bool = False
    ) -> OrchestrationResult:
        def propose(connection: Connection) -> OrchestrationResult:
            run, result = orchestration.propose_flow_run_state(
                connection, flow_run_id, state, lease=lease, force=force, now=datetime.now(UTC)
            )
            if run.state is not None and run.state.type is StateType.RUNNING:
                self._journal.note_run_count(flow_run_id, run.run_count)
            return result

        try:
            return self._journal.execute(propose, flow_run_id=flow_run_id)
        except RecordsNotDurable as error:
            if lease is not None:
                # Its engine gives the run up now, and nobody takes it from a process that lives.
                self._unrecorded[flow_run_id] = error.cause
            raise

    @override
    def update_flow_run(self, flow_run_id: UUID, **changes: Any) -> None:
        self._journal.execute(
            lambda connection: flow_runs.change(connection, flow_run_id, changes), flow_run_id=flow_run_id
        )

    @override
    def delete_flow_run(self, flow_run_id: UUID) -> None:
        def delete(connection: Connection) -> None:
            self._journal.forget({flow_run_id})
            flow_runs.delete_flow_run(connection, flow_run_id)

        self._journal.execute(delete, flow_run_id=flow_run_id)

    @override
    def reap_dead_runs(self, now: datetime) -> list[UUID]:
        # One query when nobody else owns anything, and a look at one file for each process that does.
        held = self._read(lambda connection: leases.held(connection, not_by=self._owner.id), is_barrier=False)
        dead = reaper.find_dead(held, now=now, is_shared_file=self._is_shared_file)
        unrecorded = dict(self._unrecorded)
        if not dead and not unrecorded:
            # Only now, so that the file of every process that owns something is still there for the verdict on it.
            if self._owner.lock_path is not None:
                ownership.sweep(Path(self._owner.lock_path).parent, now=now)
            return []

        def reap(connection: Connection) -> list[UUID]:
            self._journal.forget({lease.flow_run_id for lease in dead})
            crashed = self._crash_unrecorded(connection, unrecorded, now)
            return [*crashed, *reaper.reap(connection, self._dialect, dead, now=now)]

        try:
            crashed = self._journal.execute(reap)
        except RecordsNotDurable as error:
            # Who looks for the cause must be able to read what there is; the next look tries it again.
            _logger.warning(
                "%d runs whose process has died cannot be marked as Crashed now: %s",
                len(dead) + len(unrecorded),
                error.cause,
            )
            return []
        self._forget_unrecorded(unrecorded)
        for owner in {lease.owner for lease in dead}:
            ownership.remove_stale_file(owner)
        return crashed

    # --- reads ------------------------------------------------------------------------------------------------

    @override
    def read_flow(self, flow_id: UUID) -> Flow:
        return self._read(lambda connection: flows.read(connection, flow_id))

    @override
    def read_flows(self, *, limit: int = 200, offset: int = 0) -> list[Flow]:
        return self._read(lambda connection: flows.read_many(connection, limit=limit, offset=offset))

    @override
    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        return self._read(lambda connection: flow_runs.read(connection, flow_run_id))

    @override
    def read_flow_runs(self, where: FlowRunFilter | None = None, *, limit: int = 200, offset: int = 0) -> list[FlowRun]:
        return self._read(
            lambda connection: flow_runs.read_many(connection, self._dialect, where, limit=limit, offset=offset)
        )

    @override
    def count_flow_runs(self, where: FlowRunFilter | None = None) -> int:
        return self._read(lambda connection: flow_runs.count(connection, self._dialect, where))

    @override
    def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        return self._read(lambda connection: states.flow_run_states(connection, flow_run_id))

    @override
    def read_task_run(self, task_run_id: UUID) -> TaskRun:
        return self._read(lambda connection: task_runs.read(connection, task_run_id))

    @override
    def read_task_runs(self, where: TaskRunFilter | None = None, *, limit: int = 200, offset: int = 0) -> list[TaskRun]:
        return self._read(lambda connection: task_runs.read_many(connection, where, limit=limit, offset=offset))

    @override
    def count_task_runs(self, where: TaskRunFilter | None = None) -> int:
        return self._read(lambda connection: task_runs.count(connection, where))

    @override
    def task_run_counts(self, flow_run_id: UUID) -> Mapping[tuple[str, str], int]:
        return self._read(lambda connection: rollups.task_run_counts(connection, flow_run_id))

    @override
    def read_task_run_states(self, task_run_id: UUID) -> list[State[Any]]:
        def read(connection: Connection) -> list[State[Any]]:
            flow_run_id = task_runs.flow_run_id_of(connection, task_run_id)
            return states.task_run_states(connection, task_run_id, flow_run_id)

        return self._read(read)

    @override
    def read_task_timings(self, flow_run_id: UUID, *, after: UUID | None = None, limit: int = 1000) -> list[TaskTiming]:
        return self._read(
            lambda connection: task_timings.read_page(connection, flow_run_id, after=after, limit=limit),
            # One barrier, at the first page: what comes later is of tasks that began after the question.
            is_barrier=after is None,
        )

    @override
    def read_logs(
        self, where: LogFilter, *, limit: int = 200, offset: int = 0, newest_first: bool = False
    ) -> Sequence[LogEmitted]:
        return self._read(
            lambda connection: logs.read_many(connection, where, limit=limit, offset=offset, newest_first=newest_first)
        )

    # --- how ----------------------------------------------------------------------------------------------------

    @property
    def _is_shared_file(self) -> bool:
        return self._database.file is not None
