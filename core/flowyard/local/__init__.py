"""The state backend inside this process, on SQLite or PostgreSQL. Loaded by name, by `ports.open_backend`."""

from __future__ import annotations

from flowyard.local.backend import LocalBackend
from flowyard.settings import Settings

__all__ = ["LocalBackend", "open_backend"]


def open_backend(settings: Settings) -> LocalBackend:
    """Open the database that the settings name.

    Raises:
        BackendUnavailable: the home folder, the database file or the server cannot be used; says why.
    """
    return LocalBackend.open(
        settings.FLOWYARD_API_DATABASE_CONNECTION_URL,
        settings.FLOWYARD_HOME,
        connect_timeout=settings.FLOWYARD_API_DATABASE_CONNECTION_TIMEOUT,
        echo=settings.FLOWYARD_API_DATABASE_ECHO,
        migrate=settings.FLOWYARD_API_DATABASE_MIGRATE_ON_START,
        commit_interval=settings.FLOWYARD_JOURNAL_COMMIT_INTERVAL_SECONDS,
        max_pending=settings.FLOWYARD_JOURNAL_MAX_PENDING_EVENTS,
        give_up_seconds=settings.FLOWYARD_JOURNAL_GIVE_UP_SECONDS,
        encryption_key=settings.FLOWYARD_SERVER_ENCRYPTION_KEY,
    )
