"""Graphs, as the REST API has them."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from flowyard.schemas.api.base import DateTime, Model, Seconds
from flowyard.schemas.api.states import State
from flowyard.schemas.api.task_runs import TaskRunResult
from flowyard.schemas.states import StateType


class DependencyResult(Model):
    """A dependency result."""

    id: UUID
    name: str
    upstream_dependencies: list[TaskRunResult]
    state: State
    expected_start_time: DateTime | None = None
    start_time: DateTime | None = None
    end_time: DateTime | None = None
    total_run_time: Seconds | None = None
    estimated_run_time: Seconds | None = None
    untrackable_result: bool


class Edge(Model):
    """An edge."""

    id: UUID


class GraphArtifact(Model):
    """A graph artifact."""

    id: UUID
    created: DateTime
    key: str | None = None
    type: str
    is_latest: bool


class GraphState(Model):
    """A graph state."""

    id: UUID
    timestamp: DateTime
    type: StateType
    name: str


class Node(Model):
    """A node."""

    kind: Literal["flow-run", "task-run"]
    id: UUID
    label: str
    state_type: StateType
    start_time: DateTime
    end_time: DateTime | None = None
    parents: list[Edge]
    children: list[Edge]
    artifacts: list[GraphArtifact]


class Graph(Model):
    """A graph."""

    start_time: DateTime
    end_time: DateTime | None = None
    root_node_ids: list[UUID]
    nodes: list[list[tuple[str, str]]]
    artifacts: list[GraphArtifact]
    states: list[GraphState]
