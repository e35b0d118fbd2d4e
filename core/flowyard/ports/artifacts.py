"""Artifacts, as the SDK, the server and the CLI need them."""

from __future__ import annotations

from typing import Any, Protocol
from uuid import UUID

from flowyard.schemas.artifacts import ArtifactRecord
from flowyard.schemas.filters import ArtifactFilter


class ArtifactStore(Protocol):
    """What runs want people to see. Every change is durable at return."""

    def create(self, record: ArtifactRecord) -> ArtifactRecord:
        """Store an artifact, and make it the latest of its key unless a newer one is there.

        The same record a second time changes nothing.

        Raises:
            TypeError, ValueError: its key cannot be; says why.
        """
        ...

    def read(self, artifact_id: UUID) -> ArtifactRecord:
        """Return an artifact.

        Raises:
            ObjectNotFound: there is none of that id.
        """
        ...

    def find_latest(self, key: str) -> ArtifactRecord | None:
        """Return the newest version of a key, or None if there is none."""
        ...

    def read_many(self, where: ArtifactFilter, *, limit: int = 200, offset: int = 0) -> list[ArtifactRecord]:
        """Return artifacts, newest first."""
        ...

    def count(self, where: ArtifactFilter) -> int:
        """Return how many artifacts match."""
        ...

    def update(self, artifact_id: UUID, /, **changes: Any) -> None:
        """Change `data`, `description` or `metadata` of an artifact.

        Raises:
            ObjectNotFound: there is none of that id.
            ValueError: there is no such attribute to change.
        """
        ...

    def delete(self, artifact_id: UUID) -> None:
        """Delete an artifact; the version before it becomes the latest of its key.

        Raises:
            ObjectNotFound: there is none of that id.
        """
        ...

    def delete_key(self, key: str) -> int:
        """Delete every version of a key and return how many there were.

        Raises:
            ObjectNotFound: there was none.
        """
        ...
