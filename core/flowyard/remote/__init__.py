"""The state backend on a server, over HTTP. Loaded by name, by `ports.open_backend`."""

from __future__ import annotations

from flowyard.remote.backend import RemoteBackend
from flowyard.settings import Settings

__all__ = ["RemoteBackend", "open_backend"]


def open_backend(settings: Settings) -> RemoteBackend:
    """Make the backend for the server that the settings name.

    Raises:
        BackendUnavailable: the settings of the client cannot be.
    """
    return RemoteBackend.open(settings)
