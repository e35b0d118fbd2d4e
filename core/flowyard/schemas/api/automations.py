"""Automations, as the REST API has them: which events they wait for, and what they do then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Discriminator, Field, model_validator

from flowyard.schemas.api.base import Body, DateTime, Model, Operator, Seconds
from flowyard.schemas.api.criteria import AnyText
from flowyard.schemas.api.events import ID_LABEL, ResourceSpecification
from flowyard.schemas.ids import new_id
from flowyard.schemas.states import StateType

_SHORTEST_PROACTIVE = timedelta(seconds=10)


def _anything() -> ResourceSpecification:
    return ResourceSpecification({})


class AutomationFilterCreated(Body):
    """Automations by when they were made."""

    before_: DateTime | None = None


class AutomationFilterName(AnyText):
    """Automations by their name."""


class AutomationFilter(Body):
    """Which automations to take; a field that is None takes all."""

    operator: Operator = Operator.and_
    name: AutomationFilterName | None = None
    created: AutomationFilterCreated | None = None


class AutomationPartialUpdate(Body):
    """A change of an automation that leaves the rest of it alone."""

    enabled: bool = True


class CallWebhook(Model):
    """Call a webhook that is saved as a block."""

    type: Literal["call-webhook"] = "call-webhook"
    block_document_id: UUID
    payload: str = ""


class CancelFlowRun(Model):
    """Cancel the flow run that the events are about."""

    type: Literal["cancel-flow-run"] = "cancel-flow-run"


class ChangeFlowRunState(Model):
    """Give the flow run that the events are about another state."""

    type: Literal["change-flow-run-state"] = "change-flow-run-state"
    name: str | None = None
    state: StateType
    message: str | None = None


class DoNothing(Model):
    """Do nothing; for looking at what a trigger does."""

    type: Literal["do-nothing"] = "do-nothing"


class EventTrigger(Model):
    """Fires when events came, or did not come, as often as it says in the time that it says."""

    type: Literal["event"] = "event"
    id: UUID = Field(default_factory=new_id)
    match: ResourceSpecification = Field(default_factory=_anything)
    match_related: ResourceSpecification = Field(default_factory=_anything)
    after: list[str] = Field(default_factory=list[str])
    expect: list[str] = Field(default_factory=list[str])
    for_each: list[str] = Field(default_factory=list[str])
    posture: Literal["Reactive", "Proactive"]
    threshold: int = 1
    within: Annotated[Seconds, Field(ge=0.0)] = timedelta(0)
    """At least 10 seconds, and 10 if it is left out, for a trigger that waits for what does not come."""

    @model_validator(mode="after")
    def _check_within(self) -> Self:
        if self.posture == "Proactive":
            if not self.within:
                self.within = _SHORTEST_PROACTIVE
            if self.within < _SHORTEST_PROACTIVE:
                seconds = _SHORTEST_PROACTIVE.total_seconds()
                raise ValueError(f"within of a Proactive trigger is at least {seconds} seconds, not {self.within}")
        return self


class Targeted(Model):
    """An action on one object: a selected one, or the one that the events are about."""

    source: Literal["selected", "inferred"] = "selected"

    @property
    def target(self) -> tuple[str, UUID | None]:
        """The field that names the selected object, and its id."""
        return next((name, getattr(self, name)) for name in type(self).model_fields if name.endswith("_id"))

    @model_validator(mode="after")
    def _check_target(self) -> Self:
        name, identifier = self.target
        if (self.source == "selected") is (identifier is None):
            needed = "is required when the source is 'selected'"
            raise ValueError(f"{name} {needed if identifier is None else 'must be left out unless it is selected'}")
        return self


class PauseAutomation(Targeted):
    """Pause an automation."""

    type: Literal["pause-automation"] = "pause-automation"
    automation_id: UUID | None = None


class PauseDeployment(Targeted):
    """Pause the schedules of a deployment."""

    type: Literal["pause-deployment"] = "pause-deployment"
    deployment_id: UUID | None = None


class PauseWorkPool(Targeted):
    """Pause a work pool."""

    type: Literal["pause-work-pool"] = "pause-work-pool"
    work_pool_id: UUID | None = None


class PauseWorkQueue(Targeted):
    """Pause a work queue."""

    type: Literal["pause-work-queue"] = "pause-work-queue"
    work_queue_id: UUID | None = None


class ResumeAutomation(Targeted):
    """Resume an automation."""

    type: Literal["resume-automation"] = "resume-automation"
    automation_id: UUID | None = None


class ResumeDeployment(Targeted):
    """Resume the schedules of a deployment."""

    type: Literal["resume-deployment"] = "resume-deployment"
    deployment_id: UUID | None = None


class ResumeWorkPool(Targeted):
    """Resume a work pool."""

    type: Literal["resume-work-pool"] = "resume-work-pool"
    work_pool_id: UUID | None = None


class ResumeWorkQueue(Targeted):
    """Resume a work queue."""

    type: Literal["resume-work-queue"] = "resume-work-queue"
    work_queue_id: UUID | None = None


class RunDeployment(Targeted):
    """Start a run of a deployment."""

    type: Literal["run-deployment"] = "run-deployment"
    deployment_id: UUID | None = None
    parameters: dict[str, Any] | None = None
    job_variables: dict[str, Any] | None = None


class SendNotification(Model):
    """Send a message through a notification block."""

    type: Literal["send-notification"] = "send-notification"
    block_document_id: UUID
    subject: str = "Prefect automated notification"
    body: str


class SuspendFlowRun(Model):
    """Suspend the flow run that the events are about."""

    type: Literal["suspend-flow-run"] = "suspend-flow-run"


class CompoundTrigger(Model):
    """Fires when some or all of its triggers have fired."""

    type: Literal["compound"] = "compound"
    id: UUID = Field(default_factory=new_id)
    triggers: list[Trigger]
    within: Seconds | None = None
    require: int | Literal["any", "all"]

    @model_validator(mode="after")
    def _check_require(self) -> Self:
        if isinstance(self.require, int) and not 1 <= self.require <= len(self.triggers):
            raise ValueError(
                f"require={self.require} must be between 1 and the number of triggers, {len(self.triggers)}"
            )
        return self


class SequenceTrigger(Model):
    """Fires when its triggers have fired in their order."""

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


class AutomationCore(Body):
    """What an automation waits for, and what it does."""

    name: str
    description: str = ""
    enabled: bool = True
    trigger: Trigger
    actions: list[Action]
    actions_on_trigger: list[Action] = Field(default_factory=list[Action])
    """What it does besides `actions` when it is triggered."""
    actions_on_resolve: list[Action] = Field(default_factory=list[Action])
    """What it does when what triggered it is over."""

    def named_resources(self) -> set[str]:
        """Return the ids of resources that it names: those that it acts on, and those that its triggers match."""
        found = set(_matched(self.trigger))
        for action in [*self.actions, *self.actions_on_trigger, *self.actions_on_resolve]:
            if isinstance(action, Targeted):
                name, identifier = action.target
                if identifier is not None:
                    found.add(f"prefect.{name.removesuffix('_id').replace('_', '-')}.{identifier}")
            elif isinstance(action, (CallWebhook, SendNotification)):
                found.add(f"prefect.block-document.{action.block_document_id}")
        return found


def _matched(trigger: Trigger) -> Iterator[str]:
    if not isinstance(trigger, EventTrigger):
        for inner in trigger.triggers:
            yield from _matched(inner)
        return
    for where in (trigger.match, trigger.match_related):
        yield from (
            value for value in where.values().get(ID_LABEL, ()) if not value.startswith("!") and "*" not in value
        )


class Automation(AutomationCore):
    """An automation."""

    model_config = ConfigDict(extra="ignore")

    id: UUID = Field(default_factory=new_id)
    created: DateTime | None = None
    updated: DateTime | None = None


class AutomationCreate(AutomationCore):
    """What creates an automation."""

    owner_resource: str | None = None
    """A resource that the automation goes with, a deployment for instance."""


class AutomationUpdate(AutomationCore):
    """What an automation waits for and does from now on."""
