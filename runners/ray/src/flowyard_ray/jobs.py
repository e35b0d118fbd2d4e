"""Calls on their way through Ray, in the flow's process."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from flowyard.schemas.events import JournalEvent
from flowyard.task_runners.base import CallContext, Handle, TaskCall, TaskSpec
from flowyard_ray.context import MAX_CALLS, Options, options_of_call
from flowyard_ray.values import Kept, Place

Call = tuple[TaskCall, Mapping[int, Handle] | None]


class RayHandle(Handle):
    """The handle of a call; as long as somebody has it, the value stays in Ray's object store."""

    __slots__ = ("index", "place", "stand_in")

    def __init__(self, task_run_id: UUID, place: Place, index: int) -> None:
        super().__init__(task_run_id)
        self.place = place
        self.index = index
        """Where in its piece of work the call is."""
        self.stand_in: Kept | None = None
        """What consumers get when Ray has nothing for them: the call never ran, or its value is gone."""

    def is_at(self, reference: str) -> bool:
        """Say whether a reference, in hexadecimal, is the one to the value."""
        return self.place.reference is not None and self.place.reference.hex() == reference


class Item:
    """A call in a job. Who settles it (under the dispatcher's lock) completes its handle."""

    __slots__ = ("call", "handle", "held_back", "is_settled", "job", "received", "token", "upstream")

    def __init__(self, job: Job, call: TaskCall, handle: RayHandle, token: int, upstream: Mapping[int, Handle]) -> None:
        self.job = job
        self.call = call
        self.handle = handle
        self.token = token
        self.upstream = upstream
        self.is_settled = False
        self.received = 0
        """How many of its events came through the mailbox and are in the journal."""
        self.held_back: list[JournalEvent] = []


Source = tuple[TaskSpec, Options, CallContext]
"""What the calls of one job have in common."""


class Job:
    """A piece of work for Ray: calls of one task that one worker executes in order.

    `is_batch`: whoever submitted the calls wants them together.
    """

    __slots__ = (
        "attempts_left",
        "began_at",
        "is_batch",
        "is_withdrawn",
        "items",
        "missing",
        "outcome",
        "place",
        "source",
        "values",
        "was_repeated",
    )

    def __init__(self, source: Source, attempts_left: int, *, is_batch: bool = False) -> None:
        self.source = source
        self.attempts_left = attempts_left
        """How often it may be executed again after its worker died, by Ray's option `max_retries`."""
        self.is_batch = is_batch
        self.place = Place()
        self.items: list[Item] = []
        self.missing = 0
        """How many upstream calls are not done."""
        self.outcome: Any = None
        """The object reference of the outcomes; None until it was sent."""
        self.values: Any = None
        """The object reference of what the calls leave. Others are told of it (`place`) when it will not change."""
        self.began_at = 0.0
        """When it was first thought that a worker executes it; 0 before."""
        self.was_repeated = False
        """It was sent again because Ray did not have an input."""
        self.is_withdrawn = False

    @property
    def spec(self) -> TaskSpec:
        """The task."""
        return self.source[0]

    @property
    def options(self) -> Options:
        """What was asked of Ray."""
        return self.source[1]

    @property
    def is_gathered(self) -> bool:
        """Whether its calls were submitted one by one: then its worker may give some back that have not begun."""
        return len(self.items) > 1 and not self.is_batch

    @property
    def can_be_gathered(self) -> bool:
        """Whether it can be put together with others: it needs nothing of Ray, and must not be repeated by itself."""
        is_alone = self.is_batch or self.attempts_left or MAX_CALLS in self.options
        return not (is_alone or any(item.upstream for item in self.items))

    def take_in(self, other: Job) -> None:
        """Make the calls of another job, which was not sent, calls of this one."""
        for item in other.items:
            item.handle.place = self.place
            item.job = self
        self.items += other.items

    @property
    def upstream(self) -> Sequence[RayHandle]:
        """The calls that it needs."""
        return [handle for item in self.items for handle in item.upstream.values() if isinstance(handle, RayHandle)]

    @property
    def is_settled(self) -> bool:
        """Whether every call is done, whatever Ray says later."""
        return all(item.is_settled for item in self.items)


class JobMaker:
    """Makes jobs of calls; from any thread."""

    def __init__(self) -> None:
        # Workers outlive flow runs: no two runs may use the same numbers.
        self._tokens = itertools.count(secrets.randbits(60))

    def token(self) -> int:
        """Return a number that tells the letters of a call apart from all others."""
        return next(self._tokens)

    def single(self, call: TaskCall, upstream: Mapping[int, Handle] | None) -> Job:
        """Return the job of one call."""
        options = options_of_call(call.spec.fn, call.user_context)
        job = Job((call.spec, options, call.context), int(options.get("max_retries", 0)))
        self._add(job, call, _natives(upstream) if upstream else {})
        return job

    def batches(self, calls: Sequence[Call]) -> list[Job]:
        """Return the jobs of calls that go together: those of one task that follow each other are one."""
        jobs: list[Job] = []
        job: Job | None = None
        members: set[int] = set()
        for call, handles in calls:
            upstream = _natives(handles or {})
            options = options_of_call(call.spec.fn, call.user_context)
            source = call.spec, options, call.context
            if job is None or source != job.source or any(id(handle) in members for handle in upstream.values()):
                job = Job(source, int(options.get("max_retries", 0)), is_batch=True)
                jobs.append(job)
                members.clear()
            members.add(id(self._add(job, call, upstream)))
        return jobs

    def _add(self, job: Job, call: TaskCall, upstream: Mapping[int, Handle]) -> RayHandle:
        handle = RayHandle(call.task_run.id, job.place, len(job.items))
        job.items.append(Item(job, call, handle, self.token(), upstream))
        return handle


def _natives(upstream: Mapping[int, Handle]) -> dict[int, Handle]:
    return {key: handle.native or handle for key, handle in upstream.items()}
