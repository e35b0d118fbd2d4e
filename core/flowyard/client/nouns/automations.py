"""What happens by itself: automations, and notifications of flow runs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun, in_path, made_id
from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.api.automations import (
    Automation,
    AutomationCore,
    AutomationFilter,
    AutomationFilterName,
    AutomationPartialUpdate,
)
from flowyard.schemas.api.notifications import (
    FlowRunNotificationPolicy,
    FlowRunNotificationPolicyCreate,
    FlowRunNotificationPolicyFilter,
    FlowRunNotificationPolicyUpdate,
)

_POLICIES = "/flow_run_notification_policies/"


class AutomationCalls(Noun):
    """Automations, and the policies of notifications."""

    @call
    async def create_automation(self, automation: AutomationCore) -> UUID:
        """Make an automation, and return its id."""
        return made_id(await self._ask("POST", "/automations/", json=automation))

    @call
    async def update_automation(self, automation_id: UUID, automation: AutomationCore) -> None:
        """Put an automation in the place of one.

        Raises:
            ObjectNotFound: there is no such automation.
        """
        # A whole one, whatever its class: what only the server says is no part of it.
        body = automation.model_dump(mode="json", include=set(AutomationCore.model_fields), exclude_unset=True)
        await self._ask("PUT", f"/automations/{automation_id}", json=body, about=("automation", automation_id))

    @call
    async def read_automations(self) -> list[Automation]:
        """Return automations in the order of their names, 200 at most."""
        return await self._list(Automation, "/automations/filter", {})

    @call
    async def find_automation(self, id_or_name: str | UUID, exit_if_not_found: bool = True) -> Automation | None:
        """Return the automation of an id, or else of a name.

        Raises:
            ObjectNotFound: there is none, and `exit_if_not_found` does not say that None is enough.
            ValueError: several have that name.
        """
        automation_id = _as_id(id_or_name)
        if automation_id is not None:
            found = await self.read_automation(automation_id)
            if found is not None:
                return found
        named = await self.read_automations_by_name(f"{id_or_name}")
        if len(named) > 1:
            ids = ", ".join(str(each.id) for each in named)
            raise ValueError(f"{len(named)} automations have the name {id_or_name!r}; say which by its id: {ids}")
        if not named and exit_if_not_found:
            raise ObjectNotFound("automation", id_or_name)
        return named[0] if named else None

    @call
    async def read_automation(self, automation_id: UUID) -> Automation | None:
        """Return an automation, or None if there is none of that id."""
        path = f"/automations/{automation_id}"
        try:
            return await self._read(Automation, path, about=("automation", automation_id))
        except ObjectNotFound:
            return None

    @call
    async def read_automations_by_name(self, name: str) -> list[Automation]:
        """Return the automations of a name."""
        where = AutomationFilter(name=AutomationFilterName(any_=[name]))
        return await self._list(Automation, "/automations/filter", {"automations": where})

    @call
    async def pause_automation(self, automation_id: UUID) -> None:
        """Switch an automation off.

        Raises:
            ObjectNotFound: there is no such automation.
        """
        await self._enable(automation_id, enabled=False)

    @call
    async def resume_automation(self, automation_id: UUID) -> None:
        """Switch an automation on again.

        Raises:
            ObjectNotFound: there is no such automation.
        """
        await self._enable(automation_id, enabled=True)

    async def _enable(self, automation_id: UUID, *, enabled: bool) -> None:
        body = AutomationPartialUpdate(enabled=enabled)
        await self._ask("PATCH", f"/automations/{automation_id}", json=body, about=("automation", automation_id))

    @call
    async def delete_automation(self, automation_id: UUID) -> None:
        """Delete an automation; one that is not there any more is no error."""
        try:
            await self._ask("DELETE", f"/automations/{automation_id}", about=("automation", automation_id))
        except ObjectNotFound:
            return

    @call
    async def read_resource_related_automations(self, resource_id: str) -> list[Automation]:
        """Return the automations that name a resource, or belong to it."""
        return await self._list(Automation, f"/automations/related-to/{in_path(resource_id)}")

    @call
    async def delete_resource_owned_automations(self, resource_id: str) -> None:
        """Delete the automations that belong to a resource."""
        await self._ask("DELETE", f"/automations/owned-by/{in_path(resource_id)}")

    @call
    async def create_flow_run_notification_policy(
        self,
        block_document_id: UUID,
        is_active: bool = True,
        tags: list[str] | None = None,
        state_names: list[str] | None = None,
        message_template: str | None = None,
    ) -> UUID:
        """Have a message sent when flow runs enter states, and return the id of the policy.

        Args:
            block_document_id: the block that sends it.
            is_active: whether it does.
            tags: of the flow runs, one is enough; None is for all of them.
            state_names: which states; None is for all of them.
            message_template: of the message, with names in braces such as `{flow_run_name}`.
        """
        body = FlowRunNotificationPolicyCreate(
            block_document_id=block_document_id,
            is_active=is_active,
            tags=tags or [],
            state_names=state_names or [],
            message_template=message_template,
        )
        return made_id(await self._ask("POST", _POLICIES, json=body))

    @call
    async def update_flow_run_notification_policy(
        self,
        id: UUID,
        block_document_id: UUID | None = None,
        is_active: bool | None = None,
        tags: list[str] | None = None,
        state_names: list[str] | None = None,
        message_template: str | None = None,
    ) -> None:
        """Change what is given of a policy; what is None stays.

        Raises:
            ObjectNotFound: there is no such policy.
        """
        given: dict[str, Any] = {
            "block_document_id": block_document_id,
            "is_active": is_active,
            "tags": tags,
            "state_names": state_names,
            "message_template": message_template,
        }
        body = FlowRunNotificationPolicyUpdate(**{name: value for name, value in given.items() if value is not None})
        await self._ask("PATCH", f"{_POLICIES}{id}", json=body, about=("notification policy", id))

    @call
    async def read_flow_run_notification_policies(
        self,
        flow_run_notification_policy_filter: FlowRunNotificationPolicyFilter,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[FlowRunNotificationPolicy]:
        """Return policies; 200 when there is no limit."""
        body = {
            "flow_run_notification_policy_filter": flow_run_notification_policy_filter,
            "limit": limit,
            "offset": offset,
        }
        return await self._list(FlowRunNotificationPolicy, f"{_POLICIES}filter", body)

    @call
    async def delete_flow_run_notification_policy(self, id: UUID) -> None:
        """Delete a policy.

        Raises:
            ObjectNotFound: there is no such policy.
        """
        await self._ask("DELETE", f"{_POLICIES}{id}", about=("notification policy", id))


def _as_id(text: str | UUID) -> UUID | None:
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except ValueError:
        return None
