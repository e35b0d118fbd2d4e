"""API keys: what a client shows to a server that asks who it is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Scope(StrEnum):
    """What a key allows; each allows what comes before it, too."""

    READ = "read"
    """Look at everything but secrets."""
    RUN = "run"
    """Run flows: record runs, states, logs, artifacts and variables, load blocks with their secrets, hold leases."""
    ADMIN = "admin"
    """Change everything else: deployments, work pools, blocks, limits, automations, the database."""

    def allows(self, needed: Scope) -> bool:
        """Say whether a key of this scope may do what needs another."""
        order = list(Scope)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the server knows it: not the key itself, which only its owner has."""

    id: UUID
    name: str
    scope: Scope
    prefix: str
    """The part of the key that can be shown and looked up."""
    digest: bytes
    """SHA-256 of the key."""
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None

    def is_good(self, now: datetime) -> bool:
        """Say whether the key still opens anything."""
        return self.revoked is None and (self.expires is None or now < self.expires)
