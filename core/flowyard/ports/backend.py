"""What the engine, the SDK and the CLI need of a state backend, whichever it is.

`open_backend` loads the implementation by name, so that `import flowyard` loads no database library.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, cast
from uuid import UUID

from flowyard.ports.artifacts import ArtifactStore
from flowyard.ports.blocks import BlockStore
from flowyard.ports.events import EventStore
from flowyard.ports.inputs import InputStore
from flowyard.ports.limits import LimitStore
from flowyard.ports.variables import VariableStore
from flowyard.schemas.events import JournalEvent, LogEmitted
from flowyard.schemas.filters import FlowRunFilter, LogFilter, TaskRunFilter
from flowyard.schemas.metrics import TaskTiming
from flowyard.schemas.orchestration import OrchestrationResult
from flowyard.schemas.requests import ApiAnswer, ApiRequest
from flowyard.schemas.runs import Flow, FlowRun, TaskRun
from flowyard.schemas.states import State
from flowyard.settings import Settings


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of this process to record what happens in one flow run.

    `token` grows with every owner the run has had; a commit with an older token is refused.
    """

    flow_run_id: UUID
    token: int


class Recorder(Protocol):
    """Takes the events of one flow run, in order."""

    def append(self, event: JournalEvent) -> None:
        """Record an event: microseconds, nothing is waited for unless the journal is full.

        Raises:
            LeaseLost: another process owns the flow run now.
            RecordsNotDurable: the journal gave up writing.
        """
        ...


class Journal(Protocol):
    """The write-behind log of one process."""

    def recorder(self, lease: Lease | None) -> Recorder:
        """Return the recorder of a flow run; None is for tasks called outside of one."""
        ...

    def flush(self) -> None:
        """Return when everything appended before is on disk, power loss included.

        Raises:
            LeaseLost: another process owns one of the flow runs now.
            RecordsNotDurable: something could not be written; names the runs and the cause.
        """
        ...


class ControlPlane(Protocol):
    """Runs and their records, read and changed one at a time. Every method is a barrier for what came before it."""

    artifacts: ArtifactStore
    blocks: BlockStore
    events: EventStore
    inputs: InputStore
    limits: LimitStore
    variables: VariableStore

    def begin_flow_run(self, flow_name: str, flow_run: FlowRun) -> Lease:
        """Store a new flow run with its current state, register its flow by name, and own it.

        Sets `flow_run.flow_id`. An existing run of that id is taken over if its owner is dead.
        """
        ...

    def propose_flow_run_state(
        self, flow_run_id: UUID, state: State[Any], *, lease: Lease | None = None, force: bool = False
    ) -> OrchestrationResult:
        """Ask the rules for a transition and store what they decide, as a compare-and-set.

        With a `lease` the transition is refused when somebody else owns the run. A final state releases the lease.

        Raises:
            ObjectNotFound: there is no such flow run.
            LeaseLost: the lease is not the current one.
        """
        ...

    def resume_flow_run(self, flow_run_id: UUID, run_input: Mapping[str, Any] | None = None) -> OrchestrationResult:
        """Let a paused flow run go on with what it asked for; ABORT when it is not paused, REJECT when it must not.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        ...

    def cancelling_among(self, flow_run_ids: Collection[UUID]) -> Sequence[UUID]:
        """Return which of these flow runs somebody wants to end. Not a barrier: asked once a second."""
        ...

    def update_flow_run(self, flow_run_id: UUID, **changes: Any) -> None:
        """Change columns of a flow run (`name`, `flow_version`, `tags`, ...)."""
        ...

    def read_flow(self, flow_id: UUID) -> Flow: ...  # noqa: D102
    def read_flows(self, *, limit: int = 200, offset: int = 0) -> list[Flow]: ...  # noqa: D102

    def read_flow_run(self, flow_run_id: UUID) -> FlowRun:
        """Return a flow run with its current state.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        ...

    def read_flow_runs(self, where: FlowRunFilter | None = None, *, limit: int = 200, offset: int = 0) -> list[FlowRun]:
        """Return flow runs, newest first."""
        ...

    def count_flow_runs(self, where: FlowRunFilter | None = None) -> int: ...  # noqa: D102

    def delete_flow_run(self, flow_run_id: UUID, *, ended_before: datetime | None = None) -> bool:
        """Delete a flow run with its task runs, states and logs, and return True.

        Args:
            flow_run_id: which one.
            ended_before: leave it alone and return False unless it ended before then and nobody owns it; asked anew
                with every part that is deleted.

        Raises:
            ObjectNotFound: there is no such flow run.
        """
        ...

    def subflow_runs_of(self, flow_run_id: UUID) -> Sequence[UUID]:
        """Return the runs that a flow run called, without those that they called."""
        ...

    def forks(self) -> Sequence[tuple[UUID, UUID]]:
        """Return the runs that use what another one has made: (fork, source)."""
        ...

    def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        """Return every state of a flow run, oldest first."""
        ...

    def read_task_run(self, task_run_id: UUID) -> TaskRun:
        """Return a task run with its current state.

        Raises:
            ObjectNotFound: there is no such task run.
        """
        ...

    def read_task_runs(self, where: TaskRunFilter | None = None, *, limit: int = 200, offset: int = 0) -> list[TaskRun]:
        """Return task runs, newest first."""
        ...

    def count_task_runs(self, where: TaskRunFilter | None = None) -> int: ...  # noqa: D102

    def task_run_counts(self, flow_run_id: UUID) -> Mapping[tuple[str, str], int]:
        """Return how many task runs there are by (task name, state name); from the rollup, not by counting."""
        ...

    def read_task_run_states(self, task_run_id: UUID) -> list[State[Any]]:
        """Return every state of a task run, oldest first."""
        ...

    def read_task_timings(self, flow_run_id: UUID, *, after: UUID | None = None, limit: int = 1000) -> list[TaskTiming]:
        """Return what a profile needs of the task runs of a flow run, by id, which is in the order of creation.

        `after` is the id of the last one that the caller has; fewer than `limit` are the last ones.
        """
        ...

    def read_logs(
        self, where: LogFilter, *, limit: int = 200, offset: int = 0, newest_first: bool = False
    ) -> Sequence[LogEmitted]:
        """Return log lines in the order of their time."""
        ...

    def reap_dead_runs(self, now: datetime) -> list[UUID]:
        """Mark as Crashed every unfinished flow run whose owner is dead, with its unfinished task runs.

        Returns their ids. Cheap when there is none; called when a process looks at runs.
        """
        ...

    def answer_request(self, request: ApiRequest) -> ApiAnswer:
        """Answer a request of the REST API as a server on this state backend does: for `flowyard.client`."""
        ...


class Backend(Protocol):
    """A journal and a control plane on the same state."""

    @property
    def journal(self) -> Journal: ...  # noqa: D102
    @property
    def control(self) -> ControlPlane: ...  # noqa: D102

    def close(self) -> None:
        """Write what is left and let go of every thread, file and connection."""
        ...


def open_backend(settings: Settings) -> Backend:
    """Open the state backend that the settings name: the server of FLOWYARD_API_URL, else the embedded one.

    Raises:
        BackendUnavailable: the home folder, the database file or the server cannot be used; says why.
    """
    module = importlib.import_module("flowyard.local" if settings.FLOWYARD_API_URL is None else "flowyard.remote")
    return cast("Backend", module.open_backend(settings))
