"""The dispatcher: one thread that hands work to Ray and takes in what comes back.

Everything that concerns Ray happens on that thread, but for waiting (`waiting.Waiter`): what came is a note in the
dispatcher's inbox.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import secrets
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, cast
from uuid import uuid4

from flowyard.exceptions import UnpicklableValue, ValueLost, WorkerLost
from flowyard.logging.loggers import get_logger
from flowyard.logging.run_log import run_log_for_task
from flowyard.schemas.states import State, StateType
from flowyard.schemas.wire import decode_events
from flowyard.schemas.wire_values import packb, unpackb
from flowyard.settings import get_current_settings
from flowyard.task_runners.base import Handle, Outcome, TaskCall
from flowyard.task_runners.outcomes import cancelled, crashed, synthesised
from flowyard.task_runners.packing_outcomes import RemoteResult, unpack_outcome
from flowyard_ray.api import ray
from flowyard_ray.context import options_of_call
from flowyard_ray.failures import Cause, Failure, understand
from flowyard_ray.jobs import Item, Job, RayHandle
from flowyard_ray.mailbox import REPORT, Letter, open_mailbox
from flowyard_ray.sending import Sender
from flowyard_ray.upcalls import Clerk
from flowyard_ray.values import Kept, Place, RayResult, stand_in_for, unpack_kept
from flowyard_ray.waiting import Waiter
from flowyard_ray.work import Report, unpack_reports

_LEAST_WINDOW = 64
_PER_CPU = 4
_WINDOW_SECONDS = 5.0
_MOST_AHEAD = 256
"""Pieces of work that Ray holds until their inputs are ready."""
_MAILBOX_AFTER_SECONDS = 0.15
_SECRETS = frozenset({"FLOWYARD_API_DATABASE_CONNECTION_URL", "FLOWYARD_API_DATABASE_PASSWORD", "FLOWYARD_API_KEY"})

Call = tuple[TaskCall, Mapping[int, Handle] | None]


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
        self._unfinished: dict[Handle, tuple[Job, Item]] = {}
        self._by_token: dict[int, Item] = {}
        # Workers outlive flow runs: no two runs may use the same numbers.
        self._tokens = itertools.count(secrets.randbits(60))
        self._ready: deque[Job] = deque()
        self._in_flight: dict[Job, None] = {}
        """With Ray, and able to run; oldest first."""
        self._ahead: set[Job] = set()
        """With Ray, waiting for inputs."""
        self._results: weakref.WeakSet[RayResult] = weakref.WeakSet()
        self._is_closing = False
        self._is_over = False
        self._leaves_ray = False
        self._mailbox_name = f"flowyard-mailbox-{uuid4().hex}"
        self._namespace = cast("str", ray.get_runtime_context().namespace)
        self._mailbox: Any = None
        self._clerk: Clerk | None = None
        self._polls = 0
        self._unheard: list[tuple[int, Job, Failure]] = []
        """Batches whose worker died: (the poll that brings what they still reported, ...)."""
        self._confirmed: dict[int, int] = {}
        self._done_tokens: list[int] = []
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        chosen = {name: value for name, value in settings.items() if name not in _SECRETS}
        self._sender = Sender(packb([self._mailbox_name, self._namespace, chosen]))
        self._log = get_logger("task_runners.ray")
        self._waiter = Waiter(lambda answers: self._inbox.put(partial(self._told, answers)))
        self._thread = threading.Thread(target=self._run, name="flowyard-ray", daemon=True)
        self._thread.start()

    # --- from any thread -----------------------------------------------------------------------------------

    def submit(self, calls: Sequence[Call]) -> list[Handle]:
        """Take calls; those of one task that follow each other become one piece of work."""
        jobs = self._group(calls)
        handles: list[Handle] = [item.handle for job in jobs for item in job.items]
        with self._lock:
            is_over = self._is_over
            if not is_over:
                for job in jobs:
                    for item in job.items:
                        self._unfinished[item.handle] = job, item
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

    def _group(self, calls: Sequence[Call]) -> list[Job]:
        jobs: list[Job] = []
        job: Job | None = None
        sources: object = None
        members: set[int] = set()
        for call, upstream in calls:
            upstream = {key: handle.native or handle for key, handle in (upstream or {}).items()}
            options = options_of_call(call.spec.fn, call.user_context)
            source = (call.spec, options, call.context.tags)
            if job is None or source != sources or any(id(handle) in members for handle in upstream.values()):
                job = Job(options, int(options.get("max_retries", 0)))
                jobs.append(job)
                members.clear()
                sources = source
            handle = RayHandle(call.task_run.id, job.place, len(job.items))
            members.add(id(handle))
            job.items.append(Item(call, handle, next(self._tokens), upstream))
        return jobs

    def cancel(self, handle: Handle) -> bool:
        """Settle a call as Cancelled, and kill the worker that executes it if it executes nothing else."""
        with self._lock:
            found = self._unfinished.get(handle)
        if found is None:
            return False
        job, item = found
        text = "The task was cancelled before it began."
        if item.received or job.outcome is not None:
            text = "The task was cancelled; if it had begun, its worker process was killed."
        if not self._settle(item, lambda: cancelled(item.call, text)):
            return False
        self._inbox.put(partial(self._withdraw, job))
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
        if self._mailbox is not None:
            self._done_tokens.append(item.token)
            self._confirmed.pop(item.token, None)
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
        timeout = _MAILBOX_AFTER_SECONDS if self._mailbox is None and self._in_flight else None
        with contextlib.suppress(queue.Empty):
            self._inbox.get(timeout=timeout)()
            while True:
                self._inbox.get_nowait()()
                if self._is_closing:
                    return
        self._pump()
        oldest = next((job.sent_at for job in self._in_flight), None) if self._mailbox is None else None
        if oldest is not None and time.monotonic() - oldest >= _MAILBOX_AFTER_SECONDS:
            self._open_mailbox()

    def _take(self, job: Job) -> None:
        if not job.missing:
            self._ready.append(job)
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
            self._ready.append(job)

    def _pump(self) -> None:
        while self._ready:
            if len(self._in_flight) >= self._window and not self._has_grown():
                return
            self._send(self._ready.popleft())

    def _has_grown(self) -> bool:
        """Look now and then whether the cluster has more CPUs by now; Ray's autoscaler adds some when work waits."""
        if self._fixed_window is not None or time.monotonic() - self._window_at < _WINDOW_SECONDS:
            return False
        self._window_at = time.monotonic()
        cpus = float(cast("dict[str, float]", ray.cluster_resources()).get("CPU", 1))
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
        job.sent_at = time.monotonic()
        if job.missing:
            self._ahead.add(job)
        else:
            self._in_flight[job] = None
        if not job.missing:
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

    def _told(self, answers: Sequence[tuple[Job | None, Any, BaseException | None]]) -> None:
        for job, value, error in answers:
            if job is None:
                self._read(value, error)
            else:
                self._arrived(job, value, error)

    def _arrived(self, job: Job, data: Any, error: BaseException | None) -> None:
        self._in_flight.pop(job, None)
        if error is not None:
            if not job.is_settled:
                self._failed(job, error)
            return
        reports = unpack_reports(data)
        job.outcome = None
        for index, (item, report) in enumerate(zip(job.items, reports, strict=True)):
            if not item.is_settled:
                self._settle(item, partial(self._outcome_of, item, report, job.place, index))

    def _outcome_of(self, item: Item, report: Report, place: Place | Kept, index: int) -> Outcome:
        outcome = unpack_outcome(report.outcome, item.call.task_run)
        state = outcome.state
        # Those before came through the mailbox.
        del outcome.events[: max(item.received - report.first, 0)]
        if state.is_completed() and not isinstance(state.data, RemoteResult):
            state.data = RayResult(place, index, outcome.task_run.name)
            self._results.add(state.data)
        return outcome

    def _failed(self, job: Job, error: BaseException) -> None:
        failure = understand(error, has_inputs=bool(job.upstream))
        if failure.cause is Cause.WORKER and len(job.items) > 1 and self._mailbox:
            # What its calls reported before is still on its way: it is there when the next poll but one has returned.
            self._unheard.append((self._polls + 1, job, failure))
            self._mailbox.hurry.remote(self._polls + 1)
        else:
            self._give_up(job, failure)

    def _give_up(self, job: Job, failure: Failure) -> None:
        if failure.cause is Cause.INPUT:
            self._again_with_stand_ins(job, failure)
        elif failure.cause is Cause.WORKER and job.attempts_left > 0:
            self._again(job, failure.text)
        else:
            for item in job.items:
                self._lose(item, lambda item=item: _lost(item, failure.cause, failure.text))

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
        job.outcome = job.place.reference = None
        for item in job.items:
            if item.is_settled:
                continue
            with self._lock:
                self._by_token.pop(item.token, None)
                item.token, item.received = next(self._tokens), 0
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
            job.outcome = job.place.reference = None
            if not job.missing:
                self._ready.appendleft(job)
            return
        for item in job.items:
            error = _lost_input(item, failure)
            self._lose(item, lambda item=item, error=error: crashed(item.call, error))

    # --- letters --------------------------------------------------------------------------------------------------

    def _open_mailbox(self) -> None:
        try:
            self._mailbox = open_mailbox(self._mailbox_name, self._namespace)
        except Exception:
            self._mailbox = False
            self._log.warning("No mailbox could be started: states and logs come when tasks end", exc_info=True)
            return
        self._clerk = Clerk(self._mailbox)
        self._poll()

    def _poll(self) -> None:
        confirmed, self._confirmed = self._confirmed, {}
        done, self._done_tokens = self._done_tokens, []
        self._polls += 1
        letters = self._mailbox.poll.remote(self._polls, confirmed, done)
        self._waiter.add(letters, None)

    def _read(self, letters: list[Letter] | None, error: BaseException | None) -> None:
        if error is not None:
            self._log.warning("The mailbox was lost: states and logs come when tasks end. %s", error)
            self._mailbox = False
        for letter in letters or ():
            self._read_letter(letter)
        unheard, self._unheard = self._unheard, []
        for number, job, failure in unheard:
            if self._mailbox and number > self._polls:
                self._unheard.append((number, job, failure))
            elif not job.is_settled:
                self._give_up(job, failure)
        if self._mailbox and not self._is_closing:
            self._poll()

    def _read_letter(self, letter: Letter) -> None:
        token, first, data = letter
        item = self._by_token.get(token)
        if item is not None and first == REPORT:
            self._ended_early(item, data)
        elif item is not None and not item.is_settled and first <= item.received and not item.held_back:
            self._take_events(item, first, data)

    def _ended_early(self, item: Item, data: bytes) -> None:
        """Settle a call whose batch goes on; if its worker dies now, nothing of this call is lost."""
        packed, packed_kept = unpackb(data)
        [report], kept = unpack_reports(packed), unpack_kept(packed_kept, 0)
        item.handle.stand_in = kept
        self._settle(item, partial(self._outcome_of, item, report, kept, 0))

    def _take_events(self, item: Item, first: int, data: bytes) -> None:
        events = decode_events(unpackb(data))[item.received - first :]
        for number, event in enumerate(events):
            try:
                item.call.recorder.append(event)
            except Exception:  # the engine gets them with the outcome, and the recorder's error
                item.held_back = events[number:]
                break
        item.received += len(events)
        self._confirmed[item.token] = item.received

    # --- the end -----------------------------------------------------------------------------------------------------

    def _finish(self, error: BaseException | None) -> None:
        with self._lock:
            self._is_over = True
            unfinished = list(self._unfinished.values())
        jobs = {id(job): job for job, _ in unfinished}
        jobs.update((id(job), job) for job in (*self._in_flight, *self._ahead))
        for job, item in unfinished:
            text = "The flow run ended before the task began."
            if job.outcome is not None:
                text = "The flow run ended before the task did; if it had begun, its worker process was killed."
            if error is None:
                self._settle(item, lambda item=item, text=text: cancelled(item.call, text))
            else:
                self._settle(item, lambda item=item, error=error: crashed(item.call, error))
        for job in jobs.values():
            self._withdraw(job)
        if self._mailbox:
            with contextlib.suppress(Exception):  # it goes with the connection at the latest
                ray.kill(self._mailbox)
        if self._clerk is not None:
            self._clerk.close()
        self._waiter.close()
        if self._leaves_ray:
            for result in list(self._results):
                result.come_home()


def _lost_input(item: Item, failure: Failure) -> ValueLost:
    """Return what to say of a call whose inputs Ray had, and has not any more."""
    suspects: list[tuple[int, RayHandle, str]] = [
        (key, handle, handle.outcome.task_run.name)
        for key, handle in item.upstream.items()
        if isinstance(handle, RayHandle) and handle.outcome is not None and handle.stand_in is None
    ]
    found = [suspect for suspect in suspects if suspect[1].is_at(failure.lost)] or suspects
    names = " or ".join(name for _, _, name in found)
    return ValueLost(f"of Ray ({failure.text})", names, tuple(key for key, _, _ in found))


def _lost(item: Item, cause: Cause, text: str) -> Outcome:
    if cause is Cause.CANCELLED:
        return cancelled(item.call, f"The task was cancelled in Ray. {text}")
    if cause is Cause.WORKER:
        error = WorkerLost("of Ray", text)
        return crashed(item.call, error, lost_worker=error.worker)
    return crashed(item.call, RuntimeError(f"Ray could not execute the task: {text}"))
