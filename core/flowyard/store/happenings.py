"""What happens in a transaction and becomes an event when it commits: noted where it is written, stored in bulk.

Nothing is noted on a connection whose `happenings` is None, which is that of every process but a server's, unless
events are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from flowyard.schemas.runs import FlowRun, TaskRun
from flowyard.schemas.states import State, StateType
from flowyard.store.plain import INFO_KEY

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection


class FlowRunEntered(NamedTuple):
    """A flow run entered a state."""

    flow_run_id: UUID
    before: State[Any] | None
    state: State[Any]
    run: FlowRun


class TaskRunEntered(NamedTuple):
    """A task run entered a state."""

    task_run_id: UUID
    flow_run_id: UUID | None
    name: str
    tags: Sequence[str]
    before: State[Any] | None
    state: State[Any]


class StatusChanged(NamedTuple):
    """What serves flow runs became ready, fell silent, or was paused."""

    kind: str
    """`work-pool`, `work-queue`, `worker` or `deployment`."""
    id: UUID
    name: str
    status: str
    belongs_to: tuple[tuple[str, UUID], ...] = ()
    """The pool of a queue or a worker, the flow and the queue of a deployment: (kind, id)."""


Happening = FlowRunEntered | TaskRunEntered | StatusChanged


@dataclass(slots=True)
class Happenings:
    """What was noted since the transaction began. For the thread of the writer."""

    task_run_types: frozenset[StateType]
    """The states of task runs that are worth an event."""
    noted: list[Happening] = field(default_factory=list[Happening])

    def flow_run_entered(self, run: FlowRun, before: State[Any] | None) -> None:
        """Note that a flow run has entered its state."""
        assert run.state is not None
        self.noted.append(FlowRunEntered(run.id, before, run.state, run))

    def task_run_entered(self, run: TaskRun, before: State[Any] | None) -> None:
        """Note that a task run has entered its state, if that is worth an event."""
        assert run.state is not None
        if run.state.type in self.task_run_types:
            self.noted.append(TaskRunEntered(run.id, run.flow_run_id, run.name, run.tags, before, run.state))


def note_status(connection: Connection, changes: Sequence[StatusChanged]) -> None:
    """Note changes of status in the transaction of SQLAlchemy's connection."""
    happenings: Happenings | None = connection.info.get(INFO_KEY)
    if happenings is not None:
        happenings.noted.extend(changes)
