"""The states that task runs have been in."""

from __future__ import annotations

from uuid import UUID

from fastapi import Response

from flowyard.schemas.api.states import State
from flowyard.server import answers
from flowyard.server.dependencies import Database
from flowyard.server.routes import Routes
from flowyard.store import served_states

router = Routes(prefix="/task_run_states", tags=["Task Run States"])


@router.get("/{id}", operation_id="read_task_run_state", response_model=State)
def read(id: UUID, database: Database) -> Response:
    """Return a state of a task run."""
    return answers.one(database.read(lambda connection: served_states.read_task_run_state(connection, id)))


@router.get("/", operation_id="read_task_run_states", response_model=list[State])
def read_many(task_run_id: UUID, database: Database) -> Response:
    """Return the states of a task run, oldest first."""
    found = database.read(lambda connection: served_states.read_of_task_run(connection, task_run_id))
    return answers.many(State, found)
