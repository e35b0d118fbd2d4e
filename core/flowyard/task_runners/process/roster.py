"""What the pool knows: its calls and its workers."""

from __future__ import annotations

import time
from collections import OrderedDict

from flowyard.schemas.events import JournalEvent
from flowyard.task_runners.base import Handle, TaskCall
from flowyard.task_runners.packing import PackedCall
from flowyard.task_runners.process.launch import WorkerProcess


class Job:
    """A call in the pool. Who settles it (under the pool's lock) completes its handle."""

    __slots__ = ("call", "expected", "handle", "has_begun", "held", "is_settled", "number", "packed", "worker")

    def __init__(self, call: TaskCall, number: int) -> None:
        self.call = call
        self.handle = Handle(call.task_run.id)
        self.number = number
        self.packed: PackedCall | None = None
        """Kept until the call has begun: it may have to go to another worker."""
        self.worker: Worker | None = None
        self.has_begun = False
        self.is_settled = False
        self.expected = 0.0
        """How many seconds calls of this task took lately, when this one was sent."""
        self.held: list[JournalEvent] = []
        """Events that the recorder refused; the engine gets them with the outcome, and the recorder's error."""


class Worker:
    """What the pool knows about one worker process."""

    __slots__ = ("ahead", "condemned_at", "is_ready", "jobs", "known", "last_news", "process", "takes_back", "unusable")

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.jobs: OrderedDict[int, Job] = OrderedDict()
        self.known: OrderedDict[bytes, None] = OrderedDict()
        self.is_ready = False
        self.ahead = 0.0
        """Expected seconds of all its jobs."""
        self.takes_back = False
        self.last_news = time.monotonic()
        self.unusable: str | None = None
        self.condemned_at: float | None = None
        """Since when the worker is to be killed, because it executes a call that was cancelled."""
