"""What the pool knows: its calls and its workers."""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import datetime

from flowyard.schemas.events import JournalEvent
from flowyard.schemas.runs import utcnow
from flowyard.schemas.wire_values import packb
from flowyard.task_runners.base import Handle, TaskCall
from flowyard.task_runners.envelopes import Envelope
from flowyard.task_runners.packing import PackedCall, Shared
from flowyard.task_runners.process.launch import WorkerProcess
from flowyard.task_runners.process.messages import ToWorker, message

_KEPT_SHARED = 256


class Job:
    """A call in the pool. Who settles it (under the pool's lock) completes its handle."""

    __slots__ = (
        "attempt_since",
        "began_at",
        "call",
        "expected",
        "handle",
        "has_begun",
        "held",
        "is_settled",
        "number",
        "packed",
        "worker",
    )

    def __init__(self, call: TaskCall, number: int) -> None:
        self.call = call
        self.handle = Handle(call.task_run.id)
        self.number = number
        self.packed: PackedCall | None = None
        """Kept until the call has begun: it may have to go to another worker."""
        self.worker: Worker | None = None
        self.has_begun = False
        self.began_at: datetime | None = None
        self.attempt_since: float | None = None
        """Since when (monotonic) an attempt has been running; None between attempts."""
        self.is_settled = False
        self.expected = 0.0
        """How many seconds calls of this task took lately, when this one was sent."""
        self.held: list[JournalEvent] = []
        """Events that the recorder refused; the engine gets them with the outcome, and the recorder's error."""


class Worker:
    """What the pool knows about one worker process."""

    __slots__ = (
        "_known",
        "ahead",
        "condemned_at",
        "is_ready",
        "jobs",
        "last_news",
        "process",
        "running",
        "takes_back",
        "unusable",
    )

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self.jobs: OrderedDict[int, Job] = OrderedDict()
        self.running: Job | None = None
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self.is_ready = False
        self.ahead = 0.0
        """Expected seconds of all its jobs."""
        self.takes_back = False
        self.last_news = time.monotonic()
        self.unusable: str | None = None
        self.condemned_at: float | None = None
        """Since when the worker is to be killed, because it executes a call that was cancelled or timed out."""

    # --- calls --------------------------------------------------------------------------------------------

    def give(self, job: Job, packed: PackedCall, expected: float) -> None:
        """Send a call, with what the worker must know first."""
        self._share(ToWorker.SPEC, packed.spec)
        self._share(ToWorker.CONTEXT, packed.context)
        control = packb(
            [int(ToWorker.CALL), job.number, packed.envelope.control, packed.spec.hash, packed.context.hash]
        )
        self.process.writer.add(Envelope(control, packed.envelope.buffers))
        if not self.jobs:
            self.last_news = time.monotonic()
        self.jobs[job.number] = job
        job.worker = self
        job.expected = expected
        self.ahead += expected

    def _share(self, kind: ToWorker, shared: Shared) -> None:
        """Send what calls share, unless the worker has it; what was used least lately is forgotten."""
        known = self._known
        if shared.hash in known:
            known.move_to_end(shared.hash)
            return
        self.process.writer.add(message(kind, shared.hash, shared.data))
        known[shared.hash] = None
        if len(known) > _KEPT_SHARED:
            # Calls that were sent before refer to their own copies already.
            self.process.writer.add(message(ToWorker.FORGET, [known.popitem(last=False)[0]]))

    def began(self, job: Job) -> None:
        """Note that a call has begun: from now on it is not executed again by itself."""
        self.running = job
        job.has_begun = True
        job.began_at = utcnow()
        job.attempt_since = time.monotonic()
        job.packed = None

    def finish(self, number: int) -> Job | None:
        """Note that a call is done; None when it is not known here."""
        job = self.jobs.pop(number, None)
        if job is not None:
            self.ahead -= job.expected
            if self.running is job:
                self.running = None
        return job

    def take_back(self, numbers: list[int]) -> list[Job]:
        """Note that calls were returned without having begun."""
        self.takes_back = False
        jobs = [job for number in numbers if (job := self.jobs.pop(number, None)) is not None]
        for job in jobs:
            job.worker = None
            self.ahead -= job.expected
        return jobs

    def ask_back(self, count: int) -> None:
        """Ask for the last calls that have not begun."""
        self.takes_back = True
        self.process.writer.add(message(ToWorker.GIVE_BACK, count))

    # --- death sentences ----------------------------------------------------------------------------------

    def condemn(self) -> None:
        """Kill the worker because of the call that it executes, but not before its other calls are back.

        It may have finished that call and begun the next in this moment: the next one must not die for it.
        """
        self.condemned_at = time.monotonic()
        if len(self.jobs) > 1:
            self.ask_back(len(self.jobs))
        else:
            self.process.kill()

    def carry_out(self) -> None:
        """Kill a condemned worker if the call in question is all it has; let it live if that is done."""
        if not any(job.has_begun and job.is_settled for job in self.jobs.values()):
            self.condemned_at = None
        elif len(self.jobs) == 1:
            self.process.kill()
