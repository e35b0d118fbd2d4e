"""Which rows a list asks for. None means "any"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from flowyard.schemas.states import StateType


@dataclass(frozen=True, slots=True)
class FlowRunFilter:
    """Flow runs that match every criterion that is set."""

    ids: tuple[UUID, ...] | None = None
    flow_names: tuple[str, ...] | None = None
    state_types: tuple[StateType, ...] | None = None
    state_names: tuple[str, ...] | None = None
    """Compared without regard to case."""
    tags_all: tuple[str, ...] | None = None
    parent_task_run_ids: tuple[UUID, ...] | None = None
    is_subflow: bool | None = None
    ended_before: datetime | None = None
    """Only runs that are in a final state since before then."""


@dataclass(frozen=True, slots=True)
class TaskRunFilter:
    """Task runs that match every criterion that is set."""

    ids: tuple[UUID, ...] | None = None
    flow_run_ids: tuple[UUID, ...] | None = None
    names: tuple[str, ...] | None = None
    state_types: tuple[StateType, ...] | None = None
    state_names: tuple[str, ...] | None = None
    """Compared without regard to case."""

    @property
    def only_flow_run_id(self) -> UUID | None:
        """The flow run, where this asks for all task runs of one flow run; else None."""
        others = (self.ids, self.names, self.state_types, self.state_names)
        one = self.flow_run_ids if self.flow_run_ids is not None and len(self.flow_run_ids) == 1 else None
        return one[0] if one is not None and others == (None, None, None, None) else None


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Log lines that match every criterion that is set."""

    flow_run_id: UUID | None = None
    task_run_id: UUID | None = None
    level_at_least: int | None = None


@dataclass(frozen=True, slots=True)
class ArtifactFilter:
    """Artifacts that match every criterion that is set."""

    ids: tuple[UUID, ...] | None = None
    keys: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    flow_run_ids: tuple[UUID, ...] | None = None
    task_run_ids: tuple[UUID, ...] | None = None
    is_latest: bool = False
    """Of each key only the newest version."""
