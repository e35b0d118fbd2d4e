"""The states that flow runs have been in."""

from __future__ import annotations

from uuid import UUID

from fastapi import Response

from flowyard.schemas.api.states import State
from flowyard.server import answers
from flowyard.server.dependencies import Database
from flowyard.server.routes import Routes
from flowyard.store import served_states

router = Routes(prefix="/flow_run_states", tags=["Flow Run States"])


@router.get("/{id}", operation_id="read_flow_run_state", response_model=State)
def read(id: UUID, database: Database) -> Response:
    """Return a state of a flow run."""
    return answers.one(database.read(lambda connection: served_states.read_flow_run_state(connection, id)))


@router.get("/", operation_id="read_flow_run_states", response_model=list[State])
def read_many(flow_run_id: UUID, database: Database) -> Response:
    """Return the states of a flow run, oldest first."""
    found = database.read(lambda connection: served_states.read_of_flow_run(connection, flow_run_id))
    return answers.many(State, found)
