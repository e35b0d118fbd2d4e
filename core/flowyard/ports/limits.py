"""Concurrency limits, as the SDK, the engine and the CLI need them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol
from uuid import UUID

from flowyard.schemas.limits import ConcurrencyLimit, SlotAnswer, SlotHolder, SlotRequest


class LimitStore(Protocol):
    """The ledger of slots: who holds how many of which limit, and who waits. Every change is durable at return."""

    def create(self, limit: ConcurrencyLimit) -> ConcurrencyLimit:
        """Store a new limit.

        Raises:
            ObjectAlreadyExists: there is one of that name.
            ValueError: its name or its numbers cannot be.
        """
        ...

    def read(self, name: str) -> ConcurrencyLimit:
        """Return a limit by its name or the text of its id, with the slots that are taken now.

        Raises:
            ObjectNotFound: there is none.
        """
        ...

    def read_many(self, *, limit: int = 200, offset: int = 0) -> list[ConcurrencyLimit]:
        """Return limits in the order of their names."""
        ...

    def names(self, prefix: str = "") -> list[str]:
        """Return the names of active limits that begin so; cheap."""
        ...

    def holders(self, name: str) -> list[SlotHolder]:
        """Return who holds slots of a limit, longest first; slots that come back by themselves are not listed.

        Raises:
            ObjectNotFound: there is none of that name or id.
        """
        ...

    def update(self, name: str, **changes: Any) -> ConcurrencyLimit:
        """Change `limit`, `active`, `active_slots` (0 alone: take all slots back), `slot_decay_per_second`, `name`.

        Raises:
            ObjectNotFound: there is none of that name or id.
            ValueError: an attribute does not exist, or its value cannot be.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a limit; its holders go on without.

        Raises:
            ObjectNotFound: there is none of that name or id.
        """
        ...

    def acquire(self, request: SlotRequest, *, when_freed: Callable[[], None] | None = None) -> SlotAnswer:
        """Ask for slots; returns at once. Names that are not known become inactive limits, which let everybody pass.

        A request that is denied keeps its place in the queue as long as it is repeated every 10 seconds, or as long
        as `when_freed` is called for it (`SlotAnswer.is_called`): after a denial, from any thread, whenever it may be
        its turn, whoever gave the slots back. That can be once too often, and, when a process or a connection is lost
        in between, a second late. Slots that come back by themselves must be asked for again when they are due.

        Raises:
            SlotsOverLimit: a limit is smaller than what is asked for.
            RateLimitWithoutDecay: a rate is asked of a limit whose slots do not come back by themselves.
        """
        ...

    def watch(self, lease_id: UUID, when_freed: Callable[[], None]) -> None:
        """Have `when_freed` called for a request that was denied, as `acquire` does, without asking again."""
        ...

    def unwatch(self, lease_id: UUID) -> None:
        """Call nothing for a request any more; its place in the queue is kept for another 10 seconds."""
        ...

    def release(self, lease_ids: Sequence[UUID], occupancy_seconds: float | None = None) -> None:
        """Give slots back, or leave the queue; unknown ids are ignored."""
        ...

    def release_of_runs(self, run_ids: Sequence[UUID]) -> None:
        """Give back what flow runs or task runs hold that ended without doing so, and their places in the queues."""
        ...
