"""Inputs of flow runs, as the SDK and the server need them: what is sent to a run, by key."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol
from uuid import UUID

from flowyard.schemas.inputs import InputRecord


class InputStore(Protocol):
    """The mailboxes of flow runs. Every change is durable at return."""

    def create(self, flow_run_id: UUID, key: str, value: str, *, sender: str | None = None) -> None:
        """Put a value into the mailbox of a flow run.

        Raises:
            ObjectAlreadyExists: there is one under this key.
        """
        ...

    def find(self, flow_run_id: UUID, key: str) -> InputRecord | None:
        """Return what is under a key, or None."""
        ...

    def read_many(
        self, flow_run_id: UUID, *, prefix: str, limit: int = 1, exclude: Collection[str] = ()
    ) -> list[InputRecord]:
        """Return what is under keys that begin with `prefix` and are not among `exclude`, oldest first."""
        ...

    def delete(self, flow_run_id: UUID, key: str) -> None:
        """Take a value out.

        Raises:
            ObjectNotFound: there is none under this key.
        """
        ...
