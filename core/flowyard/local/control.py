"""The control plane on the store: changes run on the journal's writer thread, reads on connections of their own."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from typing_extensions import override

from flowyard.exceptions import LeaseLost, RecordsNotDurable
from flowyard.journal.sql import SqlJournal
from flowyard.local.reading import Reader
from flowyard.ports import ControlPlane, Lease
from flowyard.ports.artifacts import ArtifactStore
from flowyard.ports.blocks import BlockStore
from flowyard.ports.events import EventStore
from flowyard.ports.inputs import InputStore
from flowyard.ports.limits import LimitStore
from flowyard.ports.variables import VariableStore
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import LogEmitted
from flowyard.schemas.filters import FlowRunFilter, LogFilter, TaskRunFilter
from flowyard.schemas.metrics import TaskTiming
from flowyard.schemas.orchestration import OrchestrationResult
from flowyard.schemas.requests import ApiAnswer, ApiRequest
from flowyard.schemas.runs import Flow, FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.services import orchestration, ownership, reaper
from flowyard.services.lease_keeper import LEASE_SECONDS
from flowyard.store import flow_runs, flow_task_runs, flows, leases, queries, states
from flowyard.store.database import Database
from flowyard.store.leases import HeldLease, Owner
from flowyard.store.plain import PlainConnection

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

_ROWS_AT_A_TIME = 2_000
_logger = logging.getLogger("flowyard.local")


class Keeper(Protocol):
    """Renews the leases of an owner, where leases expire."""

    def start(self) -> None:
        """Begin with it, unless it is at it."""
        ...


class LocalControlPlane(ControlPlane):
    """Runs and their records in the database of this process."""

    def __init__(
        self,
        database: Database,
        journal: SqlJournal,
        owner: Owner,
        keeper: Keeper | None,
        *,
        encryption_key: str | None = None,
        key_folder: Path | None = None,
        answer_request: Callable[[ApiRequest], ApiAnswer] | None = None,
    ) -> None:
        self._database = database
        self._dialect = database.dialect
        self._journal = journal
        self._owner = owner
        self._keeper = keeper
        self._unrecorded: dict[UUID, str] = {}
        """Flow runs of this process that ended when nothing could be written, and why: to be marked when it can."""
        self._encryption_key = encryption_key
        self._key_folder = key_folder
        self._answer_request = answer_request
        self._read = Reader(database, journal)

    # Loaded by name: each needs SQLAlchemy, and most flows need none of them. pyright cannot tell that what is made as
    # soon as it is read is as good as the attribute of the port.

    @cached_property
    @override
    def artifacts(self) -> ArtifactStore:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        return importlib.import_module("flowyard.local.artifacts").LocalArtifacts(self._database, self._journal)

    @cached_property
    @override
    def blocks(self) -> BlockStore:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        blocks = importlib.import_module("flowyard.local.blocks")
        return blocks.LocalBlocks(self._database, self._journal, key=self._encryption_key, folder=self._key_folder)

    @cached_property
    @override
    def events(self) -> EventStore:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        return importlib.import_module("flowyard.local.events").LocalEvents(self._dialect, self._journal)

    @cached_property
    @override
    def inputs(self) -> InputStore:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        return importlib.import_module("flowyard.local.inputs").LocalInputs(self._database, self._journal)

    @cached_property
    @override
    def limits(self) -> LimitStore:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        return importlib.import_module("flowyard.local.limits").LocalLimits(self._database, self._journal, self._owner)

    @cached_property
    @override
    def variables(self) -> VariableStore:  # pyright: ignore[reportIncompatibleVariableOverride]  see above
        return importlib.import_module("flowyard.local.variables").LocalVariables(self._database, self._journal)

    @override
    def answer_request(self, request: ApiRequest) -> ApiAnswer:
        if self._answer_request is None:
            raise PermissionError(
                "a process that reports over HTTP sends requests of the REST API to the server itself"
            )
        return self._answer_request(request)

    # --- changes ----------------------------------------------------------------------------------------------

    @override
    def begin_flow_run(self, flow_name: str, flow_run: FlowRun) -> Lease:
        if self._keeper is not None:
            self._keeper.start()

        unrecorded = dict(self._unrecorded)

        def begin(connection: PlainConnection) -> int:
            now = datetime.now(UTC)
            self._crash_unrecorded(connection, unrecorded, now)
            if flow_runs.is_there(connection, flow_run.id):
                held = self._take_over(connection, flow_run, now)
                if held is not None and self._is_said_again(held):
                    return held.token
            else:
                flow_run.flow_id = flows.register(connection, flow_name, now)
                flow_run.flow_name = flow_name
                if flow_run.state is not None and flow_run.expected_start_time is None:
                    first, flow_run.state = flow_run.state, None
                    enter_state(flow_run, first)
                flow_runs.insert_flow_run(connection, flow_run)
                if flow_run.state is not None:
                    states.insert_flow_run_state(connection, flow_run.id, flow_run.state)
                    if connection.happenings is not None:
                        connection.happenings.flow_run_entered(flow_run, None)
            self._journal.note_run_count(flow_run.id, flow_run.run_count)
            expires = None if self._keeper is None else now + timedelta(seconds=LEASE_SECONDS)
            return leases.acquire(connection, flow_run.id, self._owner, now=now, expires=expires)

        token = self._journal.perform(begin, flow_run_id=flow_run.id)
        self._forget_unrecorded(unrecorded)
        return Lease(flow_run.id, token)

    def _crash_unrecorded(self, connection: PlainConnection, runs: Mapping[UUID, str], now: datetime) -> list[UUID]:
        if not runs:
            return []
        self._journal.forget(set(runs))
        return [run_id for run_id, cause in runs.items() if reaper.crash_unrecorded(connection, run_id, cause, now=now)]

    def _forget_unrecorded(self, runs: Mapping[UUID, str]) -> None:
        for run_id in runs:
            self._unrecorded.pop(run_id, None)

    def _is_said_again(self, held: HeldLease) -> bool:
        """Say whether a flow run that has this lease is begun a second time because an answer got lost."""
        del held
        return False

    def _take_over(self, connection: PlainConnection, flow_run: FlowRun, now: datetime) -> HeldLease | None:
        """Bring `flow_run` to what is stored of it, if its owner is dead or it has none; return its lease, if any."""
        held = leases.find(connection, flow_run.id)
        if held is not None and held.owner.id != self._owner.id:
            if ownership.is_alive(held, now=now, is_shared_file=self._is_shared_file):
                raise LeaseLost(str(flow_run.id))
            reaper.crash_task_runs(connection, flow_run.id, str(held.owner), now=now)
        self._journal.forget({flow_run.id})
        stored = flow_runs.lock(connection, flow_run.id)
        for name in FlowRun.__slots__:
            setattr(flow_run, name, getattr(stored, name))
        return held

    @override
    def propose_flow_run_state(
        self, flow_run_id: UUID, state: State[Any], *, lease: Lease | None = None, force: bool = False
    ) -> OrchestrationResult:
        try:
            return self._propose(flow_run_id, state, lease=lease, force=force)
        except RecordsNotDurable as error:
            if lease is not None:
                # Its engine gives the run up now, and nobody takes it from a process that lives.
                self._unrecorded[flow_run_id] = error.cause
            raise

    def _propose(
        self, flow_run_id: UUID, state: State[Any], *, lease: Lease | None, force: bool
    ) -> OrchestrationResult:
        def propose(connection: PlainConnection) -> OrchestrationResult:
            run, result = orchestration.propose_flow_run_state(
                connection, flow_run_id, state, lease=lease, force=force, now=datetime.now(UTC)
            )
            if run.state is not None and run.state.type is StateType.RUNNING:
                self._journal.note_run_count(flow_run_id, run.run_count)
            return result

        return self._journal.perform(propose, flow_run_id=flow_run_id)

    @override
    def resume_flow_run(self, flow_run_id: UUID, run_input: Mapping[str, Any] | None = None) -> OrchestrationResult:
        # By name: it needs SQLAlchemy, which has to be loaded before the transaction begins, and JSON schemas.
        resuming, _ = importlib.import_module("flowyard.services.resuming"), self._database.engine
        return self._journal.perform(
            lambda connection: resuming.resume_flow_run(connection, flow_run_id, run_input, now=datetime.now(UTC)),
            flow_run_id=flow_run_id,
        )

    @override
    def cancelling_among(self, flow_run_ids: Collection[UUID]) -> Sequence[UUID]:
        return self._read.plainly(lambda connection: flow_runs.cancelling_among(connection, flow_run_ids))

    @override
    def update_flow_run(self, flow_run_id: UUID, **changes: Any) -> None:
        self._journal.perform(
            lambda connection: flow_runs.change(connection, flow_run_id, changes), flow_run_id=flow_run_id
        )

    @override
    def delete_flow_run(self, flow_run_id: UUID, *, ended_before: datetime | None = None) -> bool:
        self.read_flow_run(flow_run_id)

        def stays(connection: Connection) -> bool:
            return ended_before is not None and not queries.flow_runs.has_ended(connection, flow_run_id, ended_before)

        def delete_part(connection: Connection) -> bool:
            return stays(connection) or queries.flow_runs.delete_part(connection, flow_run_id, limit=_ROWS_AT_A_TIME)

        # In parts: other writers take their turns between them.
        while not self._journal.execute(delete_part, flow_run_id=flow_run_id):
            pass

        def delete(connection: Connection) -> bool:
            if stays(connection):
                return False
            self._journal.forget({flow_run_id})
            queries.flow_runs.delete_flow_run(connection, flow_run_id)
            return True

        return self._journal.execute(delete, flow_run_id=flow_run_id)

    @override
    def subflow_runs_of(self, flow_run_id: UUID) -> Sequence[UUID]:
        return self._read(lambda connection: queries.flow_runs.subflow_runs_of(connection, flow_run_id))

    @override
    def forks(self) -> Sequence[tuple[UUID, UUID]]:
        return self._read(queries.flow_runs.forks)

    @override
    def reap_dead_runs(self, now: datetime) -> list[UUID]:
        # One query when nobody else owns anything, and a look at one file for each process that does.
        held = self._read.plainly(lambda connection: leases.held(connection, not_by=self._owner.id))
        dead = reaper.find_dead(held, now=now, is_shared_file=self._is_shared_file)
        unrecorded = dict(self._unrecorded)
        if not dead and not unrecorded:
            # Only now, so that the file of every process that owns something is still there for the verdict on it.
            if self._owner.lock_path is not None:
                ownership.sweep(Path(self._owner.lock_path).parent, now=now)
            return []

        def reap(connection: PlainConnection) -> list[UUID]:
            self._journal.forget({lease.flow_run_id for lease in dead})
            crashed = self._crash_unrecorded(connection, unrecorded, now)
            return [*crashed, *reaper.reap(connection, dead, now=now)]

        try:
            crashed = self._journal.perform(reap)
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
        return self._read(lambda connection: queries.flows.read(connection, flow_id))

    @override
    def read_flows(self, *, limit: int = 200, offset: int = 0) -> list[Flow]:
        return self._read(lambda connection: queries.flows.read_many(connection, limit=limit, offset=offset))

    @override
    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        # In SQL text: a resume, and a pause that waits, read nothing else of runs.
        return self._read.plainly(lambda connection: flow_runs.read(connection, flow_run_id), is_barrier=True)

    @override
    def read_flow_runs(self, where: FlowRunFilter | None = None, *, limit: int = 200, offset: int = 0) -> list[FlowRun]:
        return self._read(
            lambda connection: queries.flow_runs.read_many(connection, self._dialect, where, limit=limit, offset=offset)
        )

    @override
    def count_flow_runs(self, where: FlowRunFilter | None = None) -> int:
        return self._read(lambda connection: queries.flow_runs.count(connection, self._dialect, where))

    @override
    def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        return self._read(lambda connection: queries.states.flow_run_states(connection, flow_run_id))

    @override
    def read_task_run(self, task_run_id: UUID) -> TaskRun:
        return self._read(lambda connection: queries.task_runs.read(connection, task_run_id))

    @override
    def read_task_runs(self, where: TaskRunFilter | None = None, *, limit: int = 200, offset: int = 0) -> list[TaskRun]:
        flow_run_id = None if where is None else where.only_flow_run_id
        if flow_run_id is not None:
            return self._read.plainly(
                lambda connection: flow_task_runs.read_many(connection, flow_run_id, limit=limit, offset=offset),
                is_barrier=True,
            )
        return self._read(lambda connection: queries.task_runs.read_many(connection, where, limit=limit, offset=offset))

    @override
    def count_task_runs(self, where: TaskRunFilter | None = None) -> int:
        return self._read(lambda connection: queries.task_runs.count(connection, where))

    @override
    def task_run_counts(self, flow_run_id: UUID) -> Mapping[tuple[str, str], int]:
        return self._read(lambda connection: queries.rollups.task_run_counts(connection, flow_run_id))

    @override
    def read_task_run_states(self, task_run_id: UUID) -> list[State[Any]]:
        def read(connection: Connection) -> list[State[Any]]:
            flow_run_id = queries.task_runs.flow_run_id_of(connection, task_run_id)
            return queries.states.task_run_states(connection, task_run_id, flow_run_id)

        return self._read(read)

    @override
    def read_task_timings(self, flow_run_id: UUID, *, after: UUID | None = None, limit: int = 1000) -> list[TaskTiming]:
        return self._read(
            lambda connection: queries.task_timings.read_page(connection, flow_run_id, after=after, limit=limit),
            # One barrier, at the first page: what comes later is of tasks that began after the question.
            is_barrier=after is None,
        )

    @override
    def read_logs(
        self, where: LogFilter, *, limit: int = 200, offset: int = 0, newest_first: bool = False
    ) -> Sequence[LogEmitted]:
        return self._read(
            lambda connection: queries.logs.read_many(
                connection, where, limit=limit, offset=offset, newest_first=newest_first
            )
        )

    # --- how ----------------------------------------------------------------------------------------------------

    @property
    def _is_shared_file(self) -> bool:
        return self._database.file is not None
