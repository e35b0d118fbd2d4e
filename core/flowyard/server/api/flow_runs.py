"""Flow runs: made, read, changed, moved from state to state, deleted."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from anyio import to_thread
from fastapi import Body, HTTPException, Response, status

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.flow_runs import FlowRunCreate, FlowRunResponse, FlowRunUpdate
from flowyard.schemas.api.sorting import FlowRunSort
from flowyard.schemas.api.states import OrchestrationResult, StateCreate
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf, changes_of
from flowyard.server.filters import FlowRunsFiltered
from flowyard.server.proposals import proposed
from flowyard.server.provenance import Maker
from flowyard.server.received import flow_run_of, policy_of, sent_state, state_of
from flowyard.server.routes import Routes
from flowyard.services.reported_flow_runs import (
    NewFlowRun,
    ProposedState,
    create_flow_runs,
    propose_flow_run_states,
)
from flowyard.store import served_flow_runs
from flowyard.store.answers import made_flow_run
from flowyard.store.flow_runs import Origin, change_columns

router = Routes(prefix="/flow_runs", tags=["Flow Runs"])


@router.post("/", operation_id="create_flow_run", response_model=FlowRunResponse)
async def create(body: FlowRunCreate, database: Database, maker: Maker) -> Response:
    """Make a flow run, or find the one of the same flow that has its idempotency key."""
    origin = Origin(
        infrastructure_document_id=body.infrastructure_document_id,
        created_by=None if maker is None else maker.model_dump(mode="json"),
    )

    wish = NewFlowRun(lambda: (flow_run_of(body), state_of(body.state)), origin)
    try:
        run, made, is_new = await database.change_together(create_flow_runs, wish)
    except ObjectNotFound as error:
        raise HTTPException(status.HTTP_409_CONFLICT, f"{error}") from error
    if is_new:
        assert run.state is not None
        return answers.created(made_flow_run(run, origin, sent_state(run.state)), is_new=True)
    return await to_thread.run_sync(read, made, database)


@router.patch("/{id}", operation_id="update_flow_run", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: FlowRunUpdate, database: Database) -> None:
    """Change what can be changed of a flow run."""
    changes = changes_of(body)
    if changes.get("name", "") is None:
        del changes["name"]
    if "empirical_policy" in changes:
        changes["empirical_policy"] = _policy_record(body)
    database.change_plainly(lambda connection: change_columns(connection, id, changes, now=utcnow()))


def _policy_record(body: FlowRunUpdate) -> dict[str, Any]:
    policy = body.empirical_policy
    return {
        **policy_of(policy).to_record(),
        "pause_keys": sorted(map(str, policy.pause_keys or ())),
        "resuming": bool(policy.resuming),
        "retry_type": policy.retry_type,
    }


@router.post("/count", operation_id="count_flow_runs")
def count(filters: FlowRunsFiltered, database: Database) -> int:
    """Count flow runs."""
    return database.read(lambda connection: served_flow_runs.count(connection, database.dialect, filters))


@router.get("/{id}", operation_id="read_flow_run", response_model=FlowRunResponse)
def read(id: UUID, database: Database) -> Response:
    """Return a flow run."""
    now = utcnow()
    return answers.one(database.read(lambda connection: served_flow_runs.read(connection, id, now=now)))


@router.post("/filter", operation_id="read_flow_runs", response_model=list[FlowRunResponse])
def read_many(
    filters: FlowRunsFiltered,
    database: Database,
    page: PageOf,
    sort: Annotated[FlowRunSort, Body()] = FlowRunSort.ID_DESC,
) -> Response:
    """Return flow runs."""
    now = utcnow()
    found = database.read(
        lambda connection: served_flow_runs.read_many(connection, database.dialect, filters, page, sort=sort, now=now)
    )
    return answers.written(found)


@router.delete("/{id}", operation_id="delete_flow_run", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a flow run with all that it recorded; its subflow runs stay."""
    database.control.delete_flow_run(id)


@router.post("/{id}/set_state", operation_id="set_flow_run_state", response_model=OrchestrationResult)
async def set_state(
    id: UUID,
    state: Annotated[StateCreate, Body()],
    database: Database,
    force: Annotated[bool, Body()] = False,
) -> Response:
    """Propose a state: what becomes of it is decided by the rules."""
    wish = ProposedState(id, lambda: state_of(state), force)
    return await proposed(database.change_together(propose_flow_run_states, wish))
