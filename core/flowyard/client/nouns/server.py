"""The server itself."""

from __future__ import annotations

from typing import Any

import httpx

from flowyard.client.calling import call
from flowyard.client.nouns.base import Noun


class ServerCalls(Noun):
    """Whether it is there, and what it knows of packages."""

    @call
    async def api_healthcheck(self) -> Exception | None:
        """Return None when the API answers, else what is wrong."""
        try:
            await self._ask("GET", "/health")
        except Exception as error:
            return error
        return None

    @call
    async def hello(self) -> httpx.Response:
        """Return an answer of the API, of no use but that it is there."""
        return await self._ask("GET", "/hello")

    @call
    async def read_worker_metadata(self) -> dict[str, Any]:
        """Return what is known of the types of workers, by package and type."""
        return (await self._ask("GET", "/collections/views/aggregate-worker-metadata")).json()
