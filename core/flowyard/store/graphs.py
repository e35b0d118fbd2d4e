"""The graph of a flow run: its task runs, the subflow runs among them, and which takes whose value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, or_, select
from sqlalchemy.engine import Connection

from flowyard.exceptions import GraphTooLarge, ObjectNotFound
from flowyard.schemas.api.graphs import DependencyResult, Edge, Graph, GraphArtifact, GraphState, Node
from flowyard.schemas.api.task_runs import TaskRunResult
from flowyard.schemas.states import StateType
from flowyard.store.answers import task_run_answer
from flowyard.store.artifacts import artifact, artifact_collection
from flowyard.store.served_task_runs import select_task_runs
from flowyard.store.tables import flow, flow_run, flow_run_state, task_run


def dependencies(connection: Connection, flow_run_id: UUID, *, now: datetime) -> list[DependencyResult]:
    """Return the task runs of a flow run with the task runs whose values they take.

    Raises:
        ObjectNotFound: there is no such flow run.
    """
    _require_flow_run(connection, flow_run_id)
    query = select_task_runs().where(task_run.c.flow_run_id == flow_run_id, task_run.c.state_id.is_not(None))
    runs = [task_run_answer(row, now=now) for row in connection.execute(query.order_by(task_run.c.id))]
    found: list[DependencyResult] = []
    for run in runs:
        assert run.state is not None
        inputs = [one for several in run.task_inputs.values() for one in several if isinstance(one, TaskRunResult)]
        found.append(
            DependencyResult(
                id=run.id,
                name=run.name,
                upstream_dependencies=list({one.id: one for one in inputs}.values()),
                state=run.state,
                expected_start_time=run.expected_start_time,
                start_time=run.start_time,
                end_time=run.end_time,
                total_run_time=run.total_run_time,
                estimated_run_time=run.estimated_run_time,
                untrackable_result=run.state.state_details.untrackable_result,
            )
        )
    return found


def read(connection: Connection, flow_run_id: UUID, *, since: datetime, max_nodes: int, max_artifacts: int) -> Graph:
    """Return the graph of a flow run.

    Args:
        connection: to read with.
        flow_run_id: whose graph.
        since: leave out what ended before.
        max_nodes: more nodes are refused.
        max_artifacts: at most so many artifacts are shown.

    Raises:
        ObjectNotFound: there is no such flow run.
        GraphTooLarge: there are more nodes.
    """
    run = _require_flow_run(connection, flow_run_id)
    rows = _nodes(connection, flow_run_id, since, max_nodes + 1)
    if len(rows) > max_nodes:
        raise GraphTooLarge(str(flow_run_id), max_nodes)
    artifacts = _artifacts(connection, flow_run_id, max_artifacts)
    # A subflow is a node under its own id; what takes its value names the task run that stands for it.
    node_ids: dict[UUID, UUID] = {row.id: row.subflow_id or row.id for row in rows}
    parents = {row.id: _parents(row.task_inputs, node_ids) for row in rows}
    children: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for row in rows:
        for parent in parents[row.id]:
            children[parent].append(node_ids[row.id])
    nodes = [
        (
            node_ids[row.id],
            Node(
                kind="task-run" if row.subflow_id is None else "flow-run",
                id=node_ids[row.id],
                label=row.label,
                state_type=StateType(row.state_type),
                start_time=row.began,
                end_time=row.ended,
                parents=[Edge(id=parent) for parent in parents[row.id]],
                children=[Edge(id=child) for child in children[node_ids[row.id]]],
                artifacts=artifacts.get(row.id, []),
            ),
        )
        for row in rows
    ]
    return Graph(
        start_time=run.start_time or run.expected_start_time or run.created,
        end_time=run.end_time,
        root_node_ids=[node_id for node_id, node in nodes if not node.parents],
        nodes=nodes,
        artifacts=artifacts.get(None, []),
        states=_states(connection, flow_run_id),
    )


def _nodes(connection: Connection, flow_run_id: UUID, since: datetime, limit: int) -> Sequence[Any]:
    subflow = flow_run.alias()
    began = func.coalesce(
        subflow.c.start_time,
        subflow.c.expected_start_time,
        task_run.c.start_time,
        task_run.c.expected_start_time,
        type_=task_run.c.start_time.type,
    )
    ended = func.coalesce(subflow.c.end_time, task_run.c.end_time, type_=task_run.c.end_time.type)
    query = (
        select(
            task_run.c.id,
            task_run.c.task_inputs,
            subflow.c.id.label("subflow_id"),
            func.coalesce(flow.c.name + " / " + subflow.c.name, task_run.c.name).label("label"),
            func.coalesce(subflow.c.state_type, task_run.c.state_type).label("state_type"),
            began.label("began"),
            ended.label("ended"),
        )
        .select_from(
            task_run.outerjoin(subflow, subflow.c.parent_task_run_id == task_run.c.id).outerjoin(
                flow, flow.c.id == subflow.c.flow_id
            )
        )
        .where(
            task_run.c.flow_run_id == flow_run_id,
            # What is only submitted has nothing to show yet.
            task_run.c.state_type != StateType.PENDING.value,
            began.is_not(None),
            or_(ended.is_(None), ended >= since),
        )
        .order_by("began", "ended", task_run.c.id)
        .limit(limit)
    )
    return connection.execute(query).all()


def _parents(task_inputs: dict[str, list[dict[str, str]]], node_ids: dict[UUID, UUID]) -> list[UUID]:
    named = [
        UUID(one["id"]) for several in task_inputs.values() for one in several if one.get("input_type") == "task_run"
    ]
    # What is not shown is no parent; each one counts once.
    return list(dict.fromkeys(node_ids[one] for one in named if one in node_ids))


def _artifacts(connection: Connection, flow_run_id: UUID, limit: int) -> dict[UUID | None, list[GraphArtifact]]:
    """Return the artifacts of a flow run by the task run that made them; None for those of the flow itself."""
    is_latest = exists().where(artifact_collection.c.latest_id == artifact.c.id)
    query = select(
        artifact.c.id,
        artifact.c.created,
        artifact.c.key,
        artifact.c.type,
        artifact.c.task_run_id,
        is_latest.label("is_latest"),
    ).where(artifact.c.flow_run_id == flow_run_id, artifact.c.type != "result")
    found: defaultdict[UUID | None, list[GraphArtifact]] = defaultdict(list)
    for row in connection.execute(query.order_by(artifact.c.id).limit(limit)):
        found[row.task_run_id].append(
            GraphArtifact(
                id=row.id,
                created=row.created,
                key=row.key,
                type=row.type,
                # Without a key there are no other versions.
                is_latest=bool(row.is_latest) or row.key is None,
            )
        )
    return found


def _states(connection: Connection, flow_run_id: UUID) -> list[GraphState]:
    query = select(flow_run_state.c.id, flow_run_state.c.timestamp, flow_run_state.c.type, flow_run_state.c.name)
    rows = connection.execute(
        query.where(flow_run_state.c.flow_run_id == flow_run_id).order_by(
            flow_run_state.c.timestamp, flow_run_state.c.id
        )
    )
    return [GraphState(id=row.id, timestamp=row.timestamp, type=StateType(row.type), name=row.name) for row in rows]


def _require_flow_run(connection: Connection, flow_run_id: UUID) -> Any:
    columns = (flow_run.c.start_time, flow_run.c.expected_start_time, flow_run.c.end_time, flow_run.c.created)
    row = connection.execute(select(*columns).where(flow_run.c.id == flow_run_id)).first()
    if row is None:
        raise ObjectNotFound("flow run", flow_run_id)
    return row
