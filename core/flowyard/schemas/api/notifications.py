"""Notifications, as the REST API has them."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from flowyard.schemas.api.base import Body, DateTime, Model
from flowyard.schemas.ids import new_id


class FlowRunNotificationPolicy(Model):
    """A flow run notification policy."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    is_active: bool = True
    state_names: list[str]
    tags: list[str]
    block_document_id: UUID
    message_template: str | None = None


class FlowRunNotificationPolicyCreate(Body):
    """What creates a flow run notification policy."""

    is_active: bool = True
    state_names: list[str]
    tags: list[str]
    block_document_id: UUID
    message_template: str | None = None


class FlowRunNotificationPolicyFilterIsActive(Body):
    """Flow run notification policys by their is active."""

    eq_: bool | None = None


class FlowRunNotificationPolicyFilter(Body):
    """Which flow run notification policys to take; a field that is None takes all."""

    is_active: FlowRunNotificationPolicyFilterIsActive | None = None


class FlowRunNotificationPolicyUpdate(Body):
    """What can be changed of a flow run notification policy; a field that is left out stays."""

    is_active: bool | None = None
    state_names: list[str] | None = None
    tags: list[str] | None = None
    block_document_id: UUID | None = None
    message_template: str | None = None
