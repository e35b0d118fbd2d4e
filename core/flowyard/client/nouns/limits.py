"""Concurrency limits: those of tags, and those of names."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import httpx

from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun, in_path, made_id
from flowyard.schemas.api.limits import (
    ConcurrencyLimit,
    ConcurrencyLimitCreate,
    ConcurrencyLimitV2Create,
    ConcurrencyLimitV2Update,
    GlobalConcurrencyLimitResponse,
)


class LimitCalls(Noun):
    """Limits of task runs by tag, and limits that code asks for by name."""

    @call
    async def create_concurrency_limit(self, tag: str, concurrency_limit: int) -> UUID:
        """Let this many task runs with a tag run at a time, and return the id of the limit."""
        body = ConcurrencyLimitCreate(tag=tag, concurrency_limit=concurrency_limit)
        return made_id(await self._ask("POST", "/concurrency_limits/", json=body, is_repeatable=True))

    @call
    async def read_concurrency_limit_by_tag(self, tag: str) -> ConcurrencyLimit:
        """Return the limit of a tag, and who holds its slots.

        Raises:
            ObjectNotFound: the tag has none.
        """
        return await self._read(ConcurrencyLimit, _of_tag(tag), about=("concurrency limit of the tag", tag))

    @call
    async def read_concurrency_limits(self, limit: int, offset: int) -> list[ConcurrencyLimit]:
        """Return the limits of tags."""
        return await self._list(ConcurrencyLimit, "/concurrency_limits/filter", {"limit": limit, "offset": offset})

    @call
    async def reset_concurrency_limit_by_tag(self, tag: str, slot_override: list[UUID | str] | None = None) -> None:
        """Take all slots of a tag back, or say which task runs hold one.

        Raises:
            ObjectNotFound: the tag has no limit.
        """
        body = {"slot_override": slot_override}
        await self._ask("POST", f"{_of_tag(tag)}/reset", json=body, about=("concurrency limit of the tag", tag))

    @call
    async def delete_concurrency_limit_by_tag(self, tag: str) -> None:
        """Delete the limit of a tag; its holders go on without.

        Raises:
            ObjectNotFound: the tag has none.
        """
        await self._ask("DELETE", _of_tag(tag), about=("concurrency limit of the tag", tag))

    @call
    async def create_global_concurrency_limit(self, concurrency_limit: ConcurrencyLimitV2Create) -> UUID:
        """Make a limit of a name, and return its id.

        Raises:
            ObjectAlreadyExists: there is one of that name.
        """
        about = ("concurrency limit", concurrency_limit.name)
        return made_id(await self._ask("POST", "/v2/concurrency_limits/", json=concurrency_limit, about=about))

    @call
    async def read_global_concurrency_limit_by_name(self, name: str) -> GlobalConcurrencyLimitResponse:
        """Return the limit of a name, and how many of its slots are taken now.

        Raises:
            ObjectNotFound: there is none.
        """
        return await self._read(GlobalConcurrencyLimitResponse, _of_name(name), about=("concurrency limit", name))

    @call
    async def read_global_concurrency_limits(
        self, limit: int = 10, offset: int = 0
    ) -> list[GlobalConcurrencyLimitResponse]:
        """Return limits in the order of their names."""
        body = {"limit": limit, "offset": offset}
        return await self._list(GlobalConcurrencyLimitResponse, "/v2/concurrency_limits/filter", body)

    @call
    async def update_global_concurrency_limit(
        self, name: str, concurrency_limit: ConcurrencyLimitV2Update
    ) -> httpx.Response:
        """Change what is set in an update of a limit.

        Raises:
            ObjectNotFound: there is none of that name.
        """
        return await self._ask("PATCH", _of_name(name), json=concurrency_limit, about=("concurrency limit", name))

    @call
    async def delete_global_concurrency_limit_by_name(self, name: str) -> httpx.Response:
        """Delete the limit of a name.

        Raises:
            ObjectNotFound: there is none.
        """
        return await self._ask("DELETE", _of_name(name), about=("concurrency limit", name))

    @call
    async def increment_concurrency_slots(self, names: list[str], slots: int, mode: str) -> httpx.Response:
        """Take slots of several limits, all or none.

        Args:
            names: of the limits; one that is not known lets everybody pass.
            slots: how many, of each.
            mode: `concurrency`, or `rate_limit` for slots that come back by themselves.

        Raises:
            FlowyardHTTPStatusError: with status 423 when there are not enough; `Retry-After` says when to come again.
        """
        body: dict[str, Any] = {"names": names, "slots": slots, "mode": mode}
        return await self._ask("POST", "/v2/concurrency_limits/increment", json=body)

    @call
    async def release_concurrency_slots(self, names: list[str], slots: int, occupancy_seconds: float) -> httpx.Response:
        """Give slots of several limits back; how long they were held tells others how long to wait."""
        body: dict[str, Any] = {"names": names, "slots": slots, "occupancy_seconds": occupancy_seconds}
        return await self._ask("POST", "/v2/concurrency_limits/decrement", json=body)


def _of_tag(tag: str) -> str:
    return f"/concurrency_limits/tag/{in_path(tag)}"


def _of_name(name: str) -> str:
    return f"/v2/concurrency_limits/{in_path(name)}"
