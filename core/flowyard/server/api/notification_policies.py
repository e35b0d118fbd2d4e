"""Policies that say which flow runs somebody wants to hear about."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Body, HTTPException, Response, status

from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.notifications import (
    FlowRunNotificationPolicy,
    FlowRunNotificationPolicyCreate,
    FlowRunNotificationPolicyFilter,
    FlowRunNotificationPolicyUpdate,
)
from flowyard.schemas.runs import utcnow
from flowyard.server import answers
from flowyard.server.dependencies import Database, PageOf, changes_of
from flowyard.server.routes import Routes
from flowyard.store import notification_policies

router = Routes(prefix="/flow_run_notification_policies", tags=["Flow Run Notification Policies"])


@router.post(
    "/",
    operation_id="create_flow_run_notification_policy",
    response_model=FlowRunNotificationPolicy,
    status_code=status.HTTP_201_CREATED,
)
def create(body: FlowRunNotificationPolicyCreate, database: Database) -> Response:
    """Make a policy."""
    try:
        made = database.change(lambda connection: notification_policies.create(connection, body, now=utcnow()))
    except ObjectNotFound as error:
        raise HTTPException(status.HTTP_409_CONFLICT, str(error)) from error
    return answers.one(made, status.HTTP_201_CREATED)


@router.post(
    "/filter", operation_id="read_flow_run_notification_policies", response_model=list[FlowRunNotificationPolicy]
)
def read_many(
    database: Database,
    page: PageOf,
    flow_run_notification_policy_filter: Annotated[FlowRunNotificationPolicyFilter | None, Body()] = None,
) -> Response:
    """Return policies."""
    found = database.read(
        lambda connection: notification_policies.read_many(connection, flow_run_notification_policy_filter, page)
    )
    return answers.many(FlowRunNotificationPolicy, found)


@router.get("/{id}", operation_id="read_flow_run_notification_policy", response_model=FlowRunNotificationPolicy)
def read(id: UUID, database: Database) -> Response:
    """Return a policy."""
    return answers.one(database.read(lambda connection: notification_policies.read(connection, id)))


@router.patch("/{id}", operation_id="update_flow_run_notification_policy", status_code=status.HTTP_204_NO_CONTENT)
def update(id: UUID, body: FlowRunNotificationPolicyUpdate, database: Database) -> None:
    """Change a policy."""
    # Only a template can be taken away.
    changes = {
        name: value for name, value in changes_of(body).items() if value is not None or name == "message_template"
    }
    database.change(lambda connection: notification_policies.change(connection, id, changes, now=utcnow()))


@router.delete("/{id}", operation_id="delete_flow_run_notification_policy", status_code=status.HTTP_204_NO_CONTENT)
def delete(id: UUID, database: Database) -> None:
    """Delete a policy."""
    database.change(lambda connection: notification_policies.remove(connection, id))
