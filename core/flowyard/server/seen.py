"""Which of many objects a stream has sent."""

from __future__ import annotations

from collections import OrderedDict
from uuid import UUID

_MOST = 50_000


class Seen:
    """The ids of the last 50,000 objects."""

    def __init__(self) -> None:
        self._ids: OrderedDict[UUID, None] = OrderedDict()

    def add(self, identifier: UUID) -> bool:
        """Remember an object; False when it was known."""
        if identifier in self._ids:
            return False
        self._ids[identifier] = None
        if len(self._ids) > _MOST:
            self._ids.popitem(last=False)
        return True
