"""The graph of a flow run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import HTTPException, Query, Response, status

from flowyard.exceptions import GraphTooLarge, ObjectNotFound
from flowyard.schemas.api.base import DateTime
from flowyard.schemas.api.graphs import DependencyResult, Graph
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database
from flowyard.server.proposals import missing
from flowyard.server.routes import Routes
from flowyard.store import graphs

router = Routes(prefix="/flow_runs", tags=["Flow Run Graph"])
_ALWAYS = datetime(1, 1, 1, tzinfo=UTC)


@router.get("/{id}/graph", operation_id="read_flow_run_graph_v1", response_model=list[DependencyResult])
def read_dependencies(id: UUID, database: Database) -> Response:
    """Return the task runs of a flow run with the task runs whose values they take."""
    now = utcnow()
    return answers.many(
        DependencyResult, database.read(lambda connection: graphs.dependencies(connection, id, now=now))
    )


@router.get("/{id}/graph-v2", operation_id="read_flow_run_graph_v2", response_model=Graph)
def read(id: UUID, database: Database, since: Annotated[DateTime, Query()] = _ALWAYS) -> Response:
    """Return the graph of a flow run: what has begun, without what ended before `since`."""
    settings = database.settings
    try:
        graph = database.read(
            lambda connection: graphs.read(
                connection,
                id,
                since=since,
                max_nodes=settings.FLOWYARD_API_MAX_FLOW_RUN_GRAPH_NODES,
                max_artifacts=settings.FLOWYARD_API_MAX_FLOW_RUN_GRAPH_ARTIFACTS,
            )
        )
    except ObjectNotFound as error:
        return missing(error)
    except GraphTooLarge as error:
        raise HTTPException(status.HTTP_400_BAD_REQUEST, f"{error}") from error
    return answers.one(graph)
