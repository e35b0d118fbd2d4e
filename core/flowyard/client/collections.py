"""What is known of the packages that workers and blocks come from."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, Self, cast

from flowyard.client.orchestration import get_client


class CollectionsMetadataClient(Protocol):
    """Reads it; a `FlowyardClient` is one."""

    async def read_worker_metadata(self) -> dict[str, Any]:
        """Return what is known of the types of workers, by package and type."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


def get_collections_metadata_client(httpx_settings: dict[str, Any] | None = None) -> CollectionsMetadataClient:
    """Return a client that reads it, to be used in `async with`."""
    # pyright does not see through the descriptor that makes a call async or not.
    return cast("CollectionsMetadataClient", get_client(httpx_settings))
