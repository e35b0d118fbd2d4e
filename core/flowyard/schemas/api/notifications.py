"""Policies of notifications about flow runs, as the REST API has them."""

from __future__ import annotations

from string import Formatter
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from flowyard.schemas.api.base import Body, DateTime, Model
from flowyard.schemas.api.criteria import IsTrue
from flowyard.schemas.ids import new_id

MESSAGE_FIELDS = (
    "flow_run_notification_policy_id",
    "flow_id",
    "flow_name",
    "flow_run_url",
    "flow_run_id",
    "flow_run_name",
    "flow_run_parameters",
    "flow_run_state_type",
    "flow_run_state_name",
    "flow_run_state_timestamp",
    "flow_run_state_message",
)
"""What a message can tell."""


def _check_template(template: str) -> str:
    names = {name.split(".")[0].split("[")[0] for _, name, _, _ in Formatter().parse(template) if name is not None}
    unknown = sorted(names - set(MESSAGE_FIELDS))
    if unknown:
        raise ValueError(f"a message has no field {unknown[0]!r}; there are {', '.join(MESSAGE_FIELDS)}")
    return template


Template = Annotated[str, AfterValidator(_check_template)]


class FlowRunNotificationPolicy(Model):
    """Which flow runs somebody wants to hear about, and how."""

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None
    is_active: bool = True
    state_names: list[str]
    """Empty for all states."""
    tags: list[str]
    """One of them is enough; empty for whatever tags."""
    block_document_id: UUID
    """The block that sends the message."""
    message_template: str | None = None
    """With the fields of `MESSAGE_FIELDS` in braces; None for a text that says what happened."""


class FlowRunNotificationPolicyCreate(Body):
    """What creates a policy."""

    is_active: bool = True
    state_names: list[str]
    tags: list[str]
    block_document_id: UUID
    message_template: Template | None = None


class FlowRunNotificationPolicyFilterIsActive(IsTrue):
    """Policies that are active, or those that are not."""


class FlowRunNotificationPolicyFilter(Body):
    """Which policies to take; a field that is None takes all."""

    is_active: FlowRunNotificationPolicyFilterIsActive | None = None


class FlowRunNotificationPolicyUpdate(Body):
    """What can be changed of a policy; a field that is left out stays."""

    is_active: bool | None = None
    state_names: list[str] | None = None
    tags: list[str] | None = None
    block_document_id: UUID | None = None
    message_template: Template | None = None
