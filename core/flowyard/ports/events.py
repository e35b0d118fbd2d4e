"""Events, as the SDK needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class EventStore(Protocol):
    """Takes events. What it was given is durable at return."""

    def emit(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Store events in the form of the REST API's JSON; those whose id is there stay as they are.

        Raises:
            ValueError: one of them is no event, and none is stored.
        """
        ...
