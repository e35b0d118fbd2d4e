"""Automations, as the REST API has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Discriminator, Field

from flowyard.schemas.api.base import Body, DateTime, Model, Operator, Seconds
from flowyard.schemas.api.events import ResourceSpecification
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import StateType


class AutomationFilterCreated(Body):
    """Automations by their created."""

    before_: DateTime | None = None


class AutomationFilterName(Body):
    """Automations by their name."""

    any_: list[str] | None = None


class AutomationFilter(Body):
    """Which automations to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    name: AutomationFilterName | None = None
    created: AutomationFilterCreated | None = None


class AutomationPartialUpdate(Body):
    """A change of an automation that leaves the rest of it alone."""

    enabled: bool = True


class CallWebhook(Model):
    """A call webhook."""

    type: Literal["call-webhook"] = "call-webhook"
    block_document_id: UUID
    payload: str = ""


class CancelFlowRun(Model):
    """A cancel flow run."""

    type: Literal["cancel-flow-run"] = "cancel-flow-run"


class ChangeFlowRunState(Model):
    """A change flow run state."""

    type: Literal["change-flow-run-state"] = "change-flow-run-state"
    name: str | None = None
    state: StateType
    message: str | None = None


class DoNothing(Model):
    """A do nothing."""

    type: Literal["do-nothing"] = "do-nothing"


class EventTrigger(Model):
    """An event trigger."""

    type: Literal["event"] = "event"
    id: UUID = Field(default_factory=new_id)
    match: ResourceSpecification = Field(default_factory=ResourceSpecification)
    match_related: ResourceSpecification = Field(default_factory=ResourceSpecification)
    after: list[str] = Field(default_factory=list[str])
    expect: list[str] = Field(default_factory=list[str])
    for_each: list[str] = Field(default_factory=list[str])
    posture: Literal["Reactive", "Proactive"]
    threshold: int = 1
    within: Annotated[Seconds, Field(ge=0.0)] = timedelta(0)


class PauseAutomation(Model):
    """A pause automation."""

    type: Literal["pause-automation"] = "pause-automation"
    source: Literal["selected", "inferred"] = "selected"
    automation_id: UUID | None = None


class PauseDeployment(Model):
    """A pause deployment."""

    type: Literal["pause-deployment"] = "pause-deployment"
    source: Literal["selected", "inferred"] = "selected"
    deployment_id: UUID | None = None


class PauseWorkPool(Model):
    """A pause work pool."""

    type: Literal["pause-work-pool"] = "pause-work-pool"
    source: Literal["selected", "inferred"] = "selected"
    work_pool_id: UUID | None = None


class PauseWorkQueue(Model):
    """A pause work queue."""

    type: Literal["pause-work-queue"] = "pause-work-queue"
    source: Literal["selected", "inferred"] = "selected"
    work_queue_id: UUID | None = None


class ResumeAutomation(Model):
    """A resume automation."""

    type: Literal["resume-automation"] = "resume-automation"
    source: Literal["selected", "inferred"] = "selected"
    automation_id: UUID | None = None


class ResumeDeployment(Model):
    """A resume deployment."""

    type: Literal["resume-deployment"] = "resume-deployment"
    source: Literal["selected", "inferred"] = "selected"
    deployment_id: UUID | None = None


class ResumeWorkPool(Model):
    """A resume work pool."""

    type: Literal["resume-work-pool"] = "resume-work-pool"
    source: Literal["selected", "inferred"] = "selected"
    work_pool_id: UUID | None = None


class ResumeWorkQueue(Model):
    """A resume work queue."""

    type: Literal["resume-work-queue"] = "resume-work-queue"
    source: Literal["selected", "inferred"] = "selected"
    work_queue_id: UUID | None = None


class RunDeployment(Model):
    """A run deployment."""

    type: Literal["run-deployment"] = "run-deployment"
    source: Literal["selected", "inferred"] = "selected"
    deployment_id: UUID | None = None
    parameters: dict[str, Any] | None = None
    job_variables: dict[str, Any] | None = None


class SendNotification(Model):
    """A send notification."""

    type: Literal["send-notification"] = "send-notification"
    block_document_id: UUID
    subject: str = "Prefect automated notification"
    body: str


class SuspendFlowRun(Model):
    """A suspend flow run."""

    type: Literal["suspend-flow-run"] = "suspend-flow-run"


class CompoundTrigger(Model):
    """A compound trigger."""

    type: Literal["compound"] = "compound"
    id: UUID = Field(default_factory=new_id)
    triggers: list[Trigger]
    within: Seconds | None = None
    require: int | Literal["any", "all"]


class SequenceTrigger(Model):
    """A sequence trigger."""

    type: Literal["sequence"] = "sequence"
    id: UUID = Field(default_factory=new_id)
    triggers: list[Trigger]
    within: Seconds | None = None


Trigger = EventTrigger | CompoundTrigger | SequenceTrigger
Action = Annotated[
    DoNothing
    | RunDeployment
    | PauseDeployment
    | ResumeDeployment
    | CancelFlowRun
    | ChangeFlowRunState
    | PauseWorkQueue
    | ResumeWorkQueue
    | SendNotification
    | CallWebhook
    | PauseAutomation
    | ResumeAutomation
    | SuspendFlowRun
    | PauseWorkPool
    | ResumeWorkPool,
    Discriminator("type"),
]
"""What an automation does, told by its `type`."""


class Automation(Model):
    """An automation."""

    name: str
    description: str = ""
    enabled: bool = True
    trigger: Trigger
    actions: list[Action]
    actions_on_trigger: list[Action] = Field(default_factory=list[Action])
    actions_on_resolve: list[Action] = Field(default_factory=list[Action])
    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None


class AutomationCreate(Body):
    """What creates an automation."""

    name: str
    description: str = ""
    enabled: bool = True
    trigger: Trigger
    actions: list[Action]
    actions_on_trigger: list[Action] = Field(default_factory=list[Action])
    actions_on_resolve: list[Action] = Field(default_factory=list[Action])
    owner_resource: str | None = None


class AutomationUpdate(Body):
    """What can be changed of an automation; a field that is left out stays."""

    name: str
    description: str = ""
    enabled: bool = True
    trigger: Trigger
    actions: list[Action]
    actions_on_trigger: list[Action] = Field(default_factory=list[Action])
    actions_on_resolve: list[Action] = Field(default_factory=list[Action])
