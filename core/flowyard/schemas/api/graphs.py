"""Graphs, as the REST API has them."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from flowyard.schemas.api.base import DateTime, Model, Seconds
from flowyard.schemas.api.states import State
from flowyard.schemas.api.task_runs import TaskRunResult
from flowyard.schemas.states import StateType


class DependencyResult(Model):
    """A task run and the task runs whose values it takes."""

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
    """The other end of an edge."""

    id: UUID


class GraphArtifact(Model):
    """An artifact of a node."""

    id: UUID
    created: DateTime
    key: str | None = None
    type: str
    is_latest: bool


class GraphState(Model):
    """A state of the flow run, on its time line."""

    id: UUID
    timestamp: DateTime
    type: StateType
    name: str


class Node(Model):
    """A task run, or the flow run that a subflow is."""

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
    """The graph of a flow run: `nodes` are pairs of an id and a node, in the order in which they began."""

    start_time: DateTime
    end_time: DateTime | None = None
    root_node_ids: list[UUID]
    nodes: list[tuple[UUID, Node]]
    artifacts: list[GraphArtifact]
    states: list[GraphState]
