"""The queue of a journal, and all that an append looks at."""

from __future__ import annotations

import threading
from collections import deque

from flowyard.journal.batches import Entry


class Inbox:
    """What waits to be written, shared by a journal, its writer thread and its recorders. It needs no lock.

    Args:
        most: how many entries may wait.
    """

    __slots__ = ("is_blocked", "is_idle", "most", "pending", "wakeup")

    def __init__(self, most: int) -> None:
        self.most = most
        self.pending: deque[Entry] = deque()
        self.is_blocked = False
        """One look on the hot path for: there is a fault, or the journal is closed, or this is a forked child."""
        self.is_idle = False
        """Whether the writer thread waits for `wakeup`. Who appends looks here afterwards, see `_next_entries`."""
        self.wakeup = threading.Event()
