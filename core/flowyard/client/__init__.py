"""Clients of the state backend, under the names of Prefect 2's."""

from flowyard.client.orchestration import (
    FlowyardClient,
    PrefectClient,
    SyncFlowyardClient,
    SyncPrefectClient,
    get_client,
)

__all__ = ["FlowyardClient", "PrefectClient", "SyncFlowyardClient", "SyncPrefectClient", "get_client"]
