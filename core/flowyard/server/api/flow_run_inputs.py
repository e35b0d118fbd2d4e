"""What is sent to a flow run while it waits, and how a paused one goes on."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, Response, status
from fastapi.responses import PlainTextResponse

from flowyard.schemas.api.flow_runs import FlowRunInput
from flowyard.schemas.api.states import OrchestrationResult
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database
from flowyard.server.received import answer_of
from flowyard.server.routes import Routes
from flowyard.services import reported_flow_runs
from flowyard.store import flow_run_inputs, served_flow_runs

router = Routes(prefix="/flow_runs", tags=["Flow Runs"])


@router.post("/{id}/resume", operation_id="resume_flow_run", response_model=OrchestrationResult)
def resume(
    id: UUID, database: Database, run_input: Annotated[dict[str, Any] | None, Body(embed=True)] = None
) -> Response:
    """Let a paused flow run go on, with the input it asked for."""
    asked = utcnow()
    result = database.change_plainly(
        lambda connection: reported_flow_runs.resume_flow_run(connection, id, run_input, now=utcnow())
    )
    return answers.created(answer_of(result), is_new=result.state is not None and result.state.timestamp >= asked)


@router.post("/{id}/input", operation_id="create_flow_run_input", status_code=status.HTTP_201_CREATED)
def create(
    id: UUID,
    key: Annotated[str, Body()],
    value: Annotated[bytes, Body()],
    database: Database,
    sender: Annotated[str | None, Body()] = None,
) -> None:
    """Store an input of a flow run under a key that it does not have yet."""
    now = utcnow()
    database.read(lambda connection: served_flow_runs.read(connection, id, now=now))
    text = value.decode(errors="replace")
    database.change(lambda connection: flow_run_inputs.create(connection, id, key, text, sender=sender, now=now))


@router.post("/{id}/input/filter", operation_id="filter_flow_run_input", response_model=list[FlowRunInput])
def read_many(
    id: UUID,
    prefix: Annotated[str, Body()],
    database: Database,
    limit: Annotated[int, Body(ge=0)] = 1,
    exclude_keys: Annotated[list[str] | None, Body()] = None,
) -> Response:
    """Return the inputs of a flow run whose keys begin so, oldest first."""
    found = database.read(
        lambda connection: flow_run_inputs.read_many(
            connection, id, prefix=prefix, exclude=exclude_keys or [], limit=limit
        )
    )
    return answers.many(FlowRunInput, found)


@router.get("/{id}/input/{key}", operation_id="read_flow_run_input")
def read(id: UUID, key: str, database: Database) -> PlainTextResponse:
    """Return an input of a flow run, as text."""
    return PlainTextResponse(database.read(lambda connection: flow_run_inputs.read(connection, id, key)).value)


@router.delete("/{id}/input/{key}", operation_id="delete_flow_run_input", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, key: str, database: Database) -> None:
    """Delete an input of a flow run."""
    database.change(lambda connection: flow_run_inputs.remove(connection, id, key))
