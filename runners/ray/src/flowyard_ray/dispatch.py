"""The dispatcher: one thread that hands work to Ray and takes in what comes back.

Everything that concerns Ray happens on that thread, but for waiting (`waiting.Waiter`): what came is a note in the
dispatcher's inbox.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, cast
from uuid import uuid4

from flowyard.exceptions import UnpicklableValue
from flowyard.logging.loggers import get_logger
from flowyard.logging.run_log import run_log_for_task
from flowyard.schemas.states import State, StateType
from flowyard.schemas.wire_values import packb, unpackb
from flowyard.task_runners.base import Handle, Outcome
from flowyard.task_runners.outcomes import cancelled, crashed, synthesised
from flowyard.task_runners.packing_outcomes import RemoteResult
from flowyard.task_runners.plain_outcomes import unpack_either
from flowyard.task_runners.versions import mismatch, versions_here
from flowyard_ray.api import ray
from flowyard_ray.failures import Cause, Failure, understand
from flowyard_ray.flight_recorder import Left
from flowyard_ray.gathering import Gatherer
from flowyard_ray.inquiries import Inquiry
from flowyard_ray.jobs import Call, Item, Job, JobMaker
from flowyard_ray.letters import Letters
from flowyard_ray.losses import lost_call, lost_input
from flowyard_ray.sending import Sender
from flowyard_ray.values import Kept, Place, RayResult, stand_in_for, unpack_kept
from flowyard_ray.waiting import Waiter
from flowyard_ray.work import Report, unpack_reports

_LEAST_WINDOW = 64
_PER_CPU = 4
_WINDOW_SECONDS = 5.0
_MOST_AHEAD = 256
"""Pieces of work that Ray holds until their inputs are ready."""
_MAILBOX_AFTER_SECONDS = 0.2
"""How long something has been executed, as far as can be told, when a mailbox is opened."""
_MOST_WATCHED = 32
_GIVEN_BACK_SECONDS = 0.1


class Dispatcher:
    """Work on its way through Ray, for one flow run.

    `submit`, `cancel` and `close` may be called from any thread.
    """

    def __init__(self, *, max_pending: int | None, cpus: int) -> None:
        self._fixed_window = max_pending
        self._window = max_pending or max(_LEAST_WINDOW, _PER_CPU * cpus)
        self._window_at = time.monotonic()
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._unfinished: dict[Handle, Item] = {}
        self._by_token: dict[int, Item] = {}
        self._maker = JobMaker()
        self._ready: deque[Job] = deque()
        self._gatherer = Gatherer(cpus)
        self._prefers_gathered = False
        self._patience: float | None = None
        """For how many seconds what is ready is held back, if nothing comes meanwhile."""
        self._in_flight: dict[Job, None] = {}
        """With Ray, and able to run; oldest first."""
        self._ahead: set[Job] = set()
        """With Ray, waiting for inputs."""
        self._results: weakref.WeakSet[RayResult] = weakref.WeakSet()
        self._versions = {versions_here()}
        """What is known to run on workers."""
        self._is_closing = False
        self._is_over = False
        self._leaves_ray = False
        mailbox, namespace = f"flowyard-mailbox-{uuid4().hex}", cast("str", ray.get_runtime_context().namespace)
        self._sender = Sender(packb([mailbox, namespace]))
        self._log = get_logger("task_runners.ray")
        self._waiter = Waiter(lambda answers: self._inbox.put(partial(self._told, answers)))
        self._letters = Letters(self, mailbox, namespace, lambda letters: self._waiter.add(letters, None))
        self._thread = threading.Thread(target=self._run, name="flowyard-ray", daemon=True)
        self._thread.start()

    # --- from any thread -----------------------------------------------------------------------------------

    def submit(self, calls: Sequence[Call], *, is_batch: bool = False) -> list[Handle]:
        """Take calls; those of a batch that are of one task and follow each other become one piece of work."""
        jobs = self._maker.batches(calls) if is_batch else [self._maker.single(*call) for call in calls]
        handles: list[Handle] = [item.handle for job in jobs for item in job.items]
        with self._lock:
            is_over = self._is_over
            if not is_over:
                for job in jobs:
                    for item in job.items:
                        self._unfinished[item.handle] = item
                        self._by_token[item.token] = item
        for job in jobs:
            if is_over:
                for item in job.items:
                    self._settle(item, lambda item=item: cancelled(item.call, "The task runner has stopped."))
                continue
            waiting = {id(handle): handle for handle in job.upstream if handle.outcome is None}
            job.missing = len(waiting)
            self._inbox.put(partial(self._take, job))
            for handle in waiting.values():
                handle.add_done_callback(lambda _, job=job: self._inbox.put(partial(self._input_done, job)))
        return handles

    def cancel(self, handle: Handle) -> bool:
        """Settle a call as Cancelled, and kill the worker that executes it if it executes nothing else."""
        with self._lock:
            item = self._unfinished.get(handle)
        if item is None:
            return False
        text = "The task was cancelled before it began."
        if item.received or item.job.outcome is not None:
            text = "The task was cancelled; if it had begun, its worker process was killed."
        if not self._settle(item, lambda: cancelled(item.call, text)):
            return False
        self._inbox.put(lambda: self._withdraw(item.job))
        return True

    def close(self, *, leaves_ray: bool) -> None:
        """Cancel what is not done; returns when nothing is left to do.

        With `leaves_ray` the values that somebody still holds are brought to this process: the cluster is about to go.
        """

        def begin() -> None:
            self._leaves_ray = leaves_ray
            self._is_closing = True

        self._inbox.put(begin)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _settle(self, item: Item, make: Callable[[], Outcome]) -> bool:
        """Complete a call's handle with an outcome; False when somebody else did already."""
        with self._lock:
            if item.is_settled:
                return False
            item.is_settled = True
            self._unfinished.pop(item.handle, None)
            self._by_token.pop(item.token, None)
        outcome = make()
        if item.held_back:
            outcome.events[:0] = item.held_back
        self._letters.done(item.token)
        item.upstream = {}
        try:
            item.handle.complete(outcome)
        except Exception:  # callbacks must not raise; if one does, the other calls must still become done
            self._log.exception("A callback of task run %r raised", item.call.task_run.name)
        return True

    # --- the dispatcher's thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._turn()
        except BaseException as error:
            self._log.exception("The Ray dispatcher failed; its unfinished tasks crash")
            self._finish(error)
        else:
            self._finish(None)

    def _turn(self) -> None:
        timeout = self._patience
        if timeout is None and self._letters.is_wanted and self._in_flight:
            timeout = _MAILBOX_AFTER_SECONDS
        with contextlib.suppress(queue.Empty):
            self._inbox.get(timeout=timeout)()
            while True:
                self._inbox.get_nowait()()
                if self._is_closing:
                    return
        self._pump()
        if self._letters.is_wanted and self._in_flight and self._is_slow():
            self._letters.open()

    def _is_slow(self) -> bool:
        """Say whether something is executed for so long that its states and logs should be asked for.

        Ray begins what came first, so the oldest pieces of work are those that are executed. What takes long remains
        among them.
        """
        now = time.monotonic()
        is_slow = False
        for job in itertools.islice(self._in_flight, min(self._gatherer.cpus, _MOST_WATCHED)):
            job.began_at = job.began_at or now
            is_slow = is_slow or now - job.began_at >= _MAILBOX_AFTER_SECONDS
        return is_slow

    def _take(self, job: Job) -> None:
        if not job.missing:
            self._make_ready(job)
        elif len(self._ahead) < _MOST_AHEAD and all(
            handle.outcome is not None or handle.place.reference is not None for handle in job.upstream
        ):
            # Ray begins it as soon as its inputs are there, without a word from here.
            self._send(job)

    def _input_done(self, job: Job) -> None:
        job.missing -= 1
        if job.missing:
            return
        if job in self._ahead:
            self._ahead.discard(job)
            self._in_flight[job] = None
            self._waiter.add(job.outcome, job)
        elif job.outcome is None:
            self._make_ready(job)

    def _make_ready(self, job: Job) -> None:
        if job.can_be_gathered:
            self._gatherer.add(job)
        else:
            self._ready.append(job)

    def _pump(self) -> None:
        self._patience = None
        while len(self._in_flight) < self._window or self._has_grown():
            job = self._next_job()
            if job is None:
                self._patience = self._gatherer.patience
                return
            self._send(job)

    def _next_job(self) -> Job | None:
        # In turns, so that neither kind waits for all of the other.
        self._prefers_gathered = not self._prefers_gathered
        job = self._gatherer.take() if self._prefers_gathered or not self._ready else None
        return self._ready.popleft() if job is None and self._ready else job

    def _has_grown(self) -> bool:
        """Look now and then whether the cluster has more CPUs by now; Ray's autoscaler adds some when work waits."""
        if self._fixed_window is not None or time.monotonic() - self._window_at < _WINDOW_SECONDS:
            return False
        self._window_at = time.monotonic()
        cpus = float(cast("dict[str, float]", ray.cluster_resources()).get("CPU", 1))
        self._gatherer.cpus = max(int(cpus), 1)
        window = max(_LEAST_WINDOW, int(_PER_CPU * cpus))
        has_grown = window > self._window
        self._window = window
        return has_grown

    # --- to Ray -------------------------------------------------------------------------------------------------

    def _send(self, job: Job) -> None:
        job.items = [item for item in job.items if not item.is_settled]
        for item, error in self._sender.prepare(job):
            self._refuse(item, error)
        if not job.items:
            return
        try:
            self._sender.send(job)
        except Exception as error:
            self._log.exception("Work cannot be sent to Ray")
            for item in job.items:
                self._lose(item, lambda item=item, error=error: crashed(item.call, error))
            return
        job.began_at = 0.0
        self._gatherer.sent(job)
        if not job.is_gathered:
            job.place.reference = job.values
        if job.missing:
            self._ahead.add(job)
        else:
            self._in_flight[job] = None
            self._waiter.add(job.outcome, job)

    def _refuse(self, item: Item, error: Exception) -> None:
        if not isinstance(error, UnpicklableValue):
            self._log.exception("Task run %r cannot be sent to Ray", item.call.task_run.name, exc_info=error)
        text = f"Task run encountered an exception. {type(error).__name__}: {error}"
        state: State[Any] = State(StateType.FAILED, message=text, data=error)
        self._lose(item, lambda: synthesised(item.call, state))

    def _withdraw(self, job: Job) -> None:
        """Stop a job in Ray if nobody wants any of its calls."""
        if job.outcome is None or not job.is_settled or job.is_withdrawn:
            return
        job.is_withdrawn = True
        with contextlib.suppress(Exception):  # it may be done in this moment
            ray.cancel(job.outcome, force=True)

    # --- from Ray -----------------------------------------------------------------------------------------------

    def _told(self, answers: Sequence[tuple[Job | Inquiry | None, Any, BaseException | None]]) -> None:
        for job, value, error in answers:
            if job is None:
                if not self._is_closing:
                    self._letters.read(value, error)
            elif isinstance(job, Inquiry):
                self._inquired(job, value if error is None else None)
            else:
                self._arrived(job, value, error)

    def _arrived(self, job: Job, data: Any, error: BaseException | None) -> None:
        self._in_flight.pop(job, None)
        self._gatherer.left(job)
        if error is not None:
            if not job.is_settled:
                self._failed(job, error)
            return
        where, versions, reports = unpack_reports(data)
        if versions not in self._versions:
            self._versions.add(versions)
            self._log.warning("%s", mismatch({where: versions}))
        job.outcome = None
        # Its worker gives no call back any more: where values are is settled.
        job.place.reference = job.values
        for index, item in enumerate(job.items):
            if item.is_settled:
                continue
            if index < len(reports):
                self._settle(item, partial(self._outcome_of, item, reports[index], job.place, index))
            else:
                self._given_back(item)

    def _outcome_of(self, item: Item, report: Report, place: Place | Kept, index: int) -> Outcome:
        outcome = unpack_either(report.outcome, item.call.task_run, "a Ray worker")
        self._gatherer.took(item.call.spec, outcome.metrics)
        state = outcome.state
        # Those before came through the mailbox.
        del outcome.events[: max(item.received - report.first, 0)]
        if state.is_completed() and not isinstance(state.data, RemoteResult):
            if report.kept is not None:
                place, index = report.kept, 0
            result = state.data = RayResult(place, index, outcome.task_run.name)
            if result.is_on_cluster:
                self._results.add(result)
        return outcome

    def _given_back(self, item: Item) -> None:
        """Send a call anew that its worker did not begin, because one before it in the same piece of work is slow."""
        with self._lock:
            if item.is_settled:
                return
            # For the job that it was in there is nothing left to do about it.
            item.is_settled = True
            self._by_token.pop(item.token, None)
            job = Job(item.job.source, 0)
            item.handle.place, item.handle.index = job.place, 0
            new = Item(job, item.call, item.handle, self._maker.token(), {})
            self._unfinished[item.handle] = self._by_token[new.token] = new
        job.items.append(new)
        self._gatherer.was_slow(job.spec, _GIVEN_BACK_SECONDS)
        self._make_ready(job)
        # A call that was cancelled and has its worker for itself now can be killed.
        self._withdraw(item.job)

    def _failed(self, job: Job, error: BaseException) -> None:
        failure = understand(error, has_inputs=bool(job.upstream))
        is_heard_out = failure.cause is Cause.WORKER and len(job.items) > 1 and self._letters.hear_out(job, failure)
        if not is_heard_out:
            self.give_up(job, failure)

    def give_up(self, job: Job, failure: Failure) -> None:
        """Settle the calls of a job for which Ray has no outcome, or start them again."""
        if failure.cause is Cause.INPUT:
            self._again_with_stand_ins(job, failure)
        elif failure.cause is Cause.WORKER and job.attempts_left > 0:
            self._again(job, failure.text)
        elif failure.cause is Cause.WORKER and job.is_gathered:
            self._inquire(job, failure)
        else:
            self._lose_all(job, failure)

    def _lose_all(self, job: Job, failure: Failure) -> None:
        for item in job.items:
            self._lose(item, lambda item=item: lost_call(item, failure.cause, failure.text))

    def _inquire(self, job: Job, failure: Failure) -> None:
        """Ask the nodes what a worker has left of a job, so that only the call that it died in is lost."""
        try:
            inquiry = Inquiry(job, failure)
        except Exception:  # the connection is gone, or there is no node any more
            self._log.debug("The nodes of Ray cannot be asked", exc_info=True)
            self._lose_all(job, failure)
        else:
            for reference in inquiry.references:
                self._waiter.add(reference, inquiry)

    def _inquired(self, inquiry: Inquiry, left: Left | None) -> None:
        if not inquiry.is_over(left):
            return
        job, failure, left = inquiry.job, inquiry.failure, inquiry.left
        if left is not None:
            for index, item in enumerate(job.items):
                if index < len(left.reports):
                    self.ended_early(item, left.reports[index])
                elif index >= left.begun:
                    self._given_back(item)
        self._lose_all(job, failure)

    def _lose(self, item: Item, make: Callable[[], Outcome]) -> None:
        """Settle a call that has nothing in Ray: who needs it is told by what stands in for its value."""

        def with_stand_in() -> Outcome:
            outcome = make()
            item.handle.stand_in = stand_in_for(outcome)
            return outcome

        self._settle(item, with_stand_in)

    def _again(self, job: Job, text: str) -> None:
        """Execute a job again whose worker died, as Ray's option `max_retries` allows."""
        job.attempts_left -= 1
        job.outcome = job.values = job.place.reference = None
        for item in job.items:
            if item.is_settled:
                continue
            with self._lock:
                self._by_token.pop(item.token, None)
                item.token, item.received = self._maker.token(), 0
                self._by_token[item.token] = item
            item.call = copy(item.call)
            item.call.attempt += 1
            run_log_for_task(item.call.task_run, item.call.recorder).warning(
                "The worker was lost (%s); the task is executed again, %s more times at most.", text, job.attempts_left
            )
        self._ready.appendleft(job)

    def _again_with_stand_ins(self, job: Job, failure: Failure) -> None:
        """Send a job again whose input Ray does not have: what became of the input is told in its place."""
        found_any = False
        for handle in job.upstream:
            if handle.stand_in is None and handle.outcome is not None:
                handle.stand_in = stand_in_for(handle.outcome)
            found_any = found_any or handle.stand_in is not None
        if job.missing or (found_any and not job.was_repeated):
            job.was_repeated = not job.missing
            job.outcome = job.values = job.place.reference = None
            if not job.missing:
                self._ready.appendleft(job)
            return
        for item in job.items:
            error = lost_input(item, failure)
            self._lose(item, lambda item=item, error=error: crashed(item.call, error))

    # --- letters --------------------------------------------------------------------------------------------------

    def item_of(self, token: int) -> Item | None:
        """Return the call that has a token, if it is not done."""
        return self._by_token.get(token)

    def ended_early(self, item: Item, data: bytes) -> None:
        """Settle a call whose batch goes on; if its worker dies now, nothing of this call is lost."""
        if not data:
            self._given_back(item)
            return
        packed, packed_kept = unpackb(data)
        [report], [kept] = unpack_reports(packed).reports, unpack_kept(packed_kept)
        item.handle.stand_in = kept
        self._settle(item, partial(self._outcome_of, item, report, kept, 0))

    # --- the end -----------------------------------------------------------------------------------------------------

    def _finish(self, error: BaseException | None) -> None:
        with self._lock:
            self._is_over = True
            unfinished = list(self._unfinished.values())
        jobs = dict.fromkeys((*(item.job for item in unfinished), *self._in_flight, *self._ahead))
        for item in unfinished:
            text = "The flow run ended before the task began."
            if item.job.outcome is not None:
                text = "The flow run ended before the task did; if it had begun, its worker process was killed."
            if error is None:
                self._settle(item, lambda item=item, text=text: cancelled(item.call, text))
            else:
                self._settle(item, lambda item=item, error=error: crashed(item.call, error))
        for job in jobs:
            self._withdraw(job)
        self._letters.close()
        self._waiter.close()
        if self._leaves_ray:
            if any(result.is_on_cluster for result in self._results):
                gc.collect()  # what is held by a cycle only, such as a map that nobody has any more, stays
            for result in list(self._results):
                result.come_home()
