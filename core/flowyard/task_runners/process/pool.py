"""The pool: one thread that hands calls to worker processes and takes in what comes back.

`concurrent.futures.ProcessPoolExecutor` does not serve: when one of its workers dies, it fails every pending call and
cannot be used any more. Here a dead worker costs the one call that it had begun; the others go to the next worker.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

from flowyard.exceptions import UnpicklableValue, WorkerLost
from flowyard.logging.loggers import get_logger
from flowyard.process.control import control_plane
from flowyard.rules.bookkeeping import enter_state
from flowyard.schemas.events import JournalEvent, TaskRunEntered
from flowyard.schemas.states import State, StateType
from flowyard.schemas.wire import decode_events
from flowyard.schemas.wire_values import unpackb
from flowyard.task_runners.base import Handle, Outcome, TaskCall
from flowyard.task_runners.envelopes import Envelope
from flowyard.task_runners.outcomes import cancelled, crashed, synthesised
from flowyard.task_runners.packing import CallPacker
from flowyard.task_runners.plain_outcomes import unpack_either
from flowyard.task_runners.process.endings import lost, timed_out
from flowyard.task_runners.process.launch import SHIM, WorkerProcess
from flowyard.task_runners.process.messages import ToPool, ToWorker, message
from flowyard.task_runners.process.roster import Job, Worker
from flowyard.upcalls.desk import UpcallDesk

_AHEAD_SECONDS = 0.02
"""Calls are sent ahead to a busy worker while they are expected to take less than this in all."""
_MOST_AHEAD = 64
_STEAL_SECONDS = 0.01
_MOST_FAILED_STARTS = 3
_EXIT_SECONDS = 1.0
_CONDEMNED_SECONDS = 0.5
_TIMEOUT_GRACE_SECONDS = 2.0
_POLL_SECONDS = 1.0


class Pool:
    """Worker processes, started when there is work, replaced when they die.

    `submit`, `cancel` and `close` may be called from any thread; everything else happens on the pool's own.
    """

    def __init__(self, max_workers: int, shim: str = SHIM) -> None:
        self._max_workers = max_workers
        self._shim = shim
        self._lock = threading.Lock()
        self._orders: deque[Callable[[], None]] = deque()
        self._is_asleep = False
        self._is_closing = False
        self._is_over = False
        self._numbers = itertools.count(1)
        self._names = itertools.count(1)
        self._queue: deque[Job] = deque()
        self._unfinished: dict[Handle, Job] = {}
        self._workers: list[Worker] = []
        self._packer = CallPacker()
        self._seconds: dict[str, float] = {}
        """Task name -> how long its calls took lately."""
        self._failed_starts = 0
        self._desk = UpcallDesk(control_plane)
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._log = get_logger("task_runners.process")
        self._thread = threading.Thread(target=self._run, name="flowyard-process-pool", daemon=True)
        self._thread.start()

    # --- from any thread -----------------------------------------------------------------------------------

    def submit(self, calls: Iterable[TaskCall]) -> list[Handle]:
        """Queue calls in order."""
        jobs = [Job(call, next(self._numbers)) for call in calls]
        with self._lock:
            is_over = self._is_over
            if not is_over:
                self._unfinished.update((job.handle, job) for job in jobs)
        if is_over:
            for job in jobs:
                self._settle(job, lambda job=job: cancelled(job.call, "The task runner has stopped."))
        else:
            self._order(lambda: self._queue.extend(jobs))
        return [job.handle for job in jobs]

    def cancel(self, handle: Handle) -> bool:
        """Settle a call as Cancelled; a worker that executes it already is killed."""
        with self._lock:
            job = self._unfinished.get(handle)
        if job is None:
            return False
        text = "The task was cancelled before it began."
        if job.has_begun:
            text = "The task was cancelled while it ran; its worker process was killed."
        if not self._settle(job, lambda: cancelled(job.call, text)):
            return False
        self._order(lambda: self._withdraw(job))
        return True

    def close(self) -> None:
        """Cancel what is not done and end every worker; returns when all are gone."""

        def begin() -> None:
            self._is_closing = True

        self._order(begin)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _order(self, order: Callable[[], None]) -> None:
        with self._lock:
            self._orders.append(order)
            wake, self._is_asleep = self._is_asleep, False
        if wake:
            self._wake_write.send(b"\0")

    def _settle(self, job: Job, make: Callable[[], Outcome]) -> bool:
        """Complete a job's handle with an outcome; False when somebody else did already."""
        with self._lock:
            if job.is_settled:
                return False
            job.is_settled = True
            self._unfinished.pop(job.handle, None)
        outcome = make()
        if job.held:
            outcome.events[:0] = job.held
        try:
            job.handle.complete(outcome)
        except Exception:  # callbacks must not raise; if one does, the other calls must still become done
            self._log.exception("A callback of task run %r raised", job.call.task_run.name)
        return True

    # --- the pool's thread ------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_closing:
                self._turn()
        except BaseException as error:
            self._log.exception("The process pool failed; its unfinished tasks crash")
            self._finish(error)
        else:
            self._finish(None)

    def _turn(self) -> None:
        while self._orders:
            self._orders.popleft()()
        if self._is_closing:
            return
        self._hand_out()
        for worker in self._workers:
            worker.process.writer.flush()
            self._watch(worker)
        waits = [self._police(), self._steal(), None if self._sees_deaths() else _POLL_SECONDS]
        timeout = min((wait for wait in waits if wait is not None), default=None)
        with self._lock:
            if self._orders:
                return
            self._is_asleep = True
        ready = self._selector.select(timeout)
        with self._lock:
            self._is_asleep = False
        for key, _ in ready:
            key.data()
        if not ready:
            for worker in list(self._workers):
                if worker.process.pidfd is None and worker.process.has_ended():
                    self._lost(worker)

    def _woken(self) -> None:
        self._wake_read.recv(4096)

    def _watch(self, worker: Worker) -> None:
        """Ask to be told when the socket takes more bytes, but only while there are any."""
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.process.writer.has_unsent else 0)
        key = self._selector.get_key(worker.process.socket)
        if key.events != wanted:
            self._selector.modify(worker.process.socket, wanted, key.data)

    # --- handing out ---------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """Give every idle worker one call, start workers for the rest, and send small calls ahead to busy workers."""
        while self._queue:
            if self._queue[0].is_settled:
                self._queue.popleft()
                continue
            worker = next((worker for worker in self._workers if not worker.jobs), None) or self._start_worker()
            if worker is None:
                break
            self._send_next(worker)
        for worker in self._workers:
            # Topped up when half is done, so that a message carries many calls.
            if not worker.is_ready or worker.condemned_at is not None:
                continue
            if worker.ahead > _AHEAD_SECONDS / 2 or len(worker.jobs) > _MOST_AHEAD // 2:
                continue
            while self._queue and len(worker.jobs) < _MOST_AHEAD:
                expected = self._seconds.get(self._queue[0].call.spec.name)
                if expected is None or worker.ahead + expected > _AHEAD_SECONDS:
                    break
                self._send_next(worker)

    def _send_next(self, worker: Worker) -> None:
        job = self._queue.popleft()
        if job.is_settled:
            return
        if job.packed is None:
            try:
                job.packed = self._packer.pack(job.call)
            except Exception as error:
                self._refuse(job, error)
                return
        worker.give(job, job.packed, self._seconds.get(job.call.spec.name, _AHEAD_SECONDS))

    def _refuse(self, job: Job, error: Exception) -> None:
        text = str(error)
        if not isinstance(error, UnpicklableValue):
            self._log.exception("Task run %r cannot be sent to a worker", job.call.task_run.name)
        text = f"Task run encountered an exception. {type(error).__name__}: {text}"
        state: State[Any] = State(StateType.FAILED, message=text, data=error)
        self._settle(job, lambda: synthesised(job.call, state))

    def _steal(self) -> float | None:
        """Take calls back from a worker that is slower than expected, for one that is idle; say when to look again."""
        timeout: float | None = None
        if self._queue or not any(worker.is_ready and not worker.jobs for worker in self._workers):
            return timeout
        now = time.monotonic()
        for worker in self._workers:
            waiting = sum(not job.has_begun for job in worker.jobs.values())
            if not waiting or worker.takes_back or not worker.is_ready or len(worker.jobs) == 1:
                continue
            if now - worker.last_news < _STEAL_SECONDS:
                timeout = _STEAL_SECONDS
                continue
            worker.ask_back((waiting + 1) // 2)
            worker.process.writer.flush()
            self._watch(worker)
        return timeout

    def _sees_deaths(self) -> bool:
        return all(worker.process.pidfd is not None for worker in self._workers)

    def _police(self) -> float | None:
        """Kill workers that do not obey: condemned ones, and those whose task outlives its timeout; say when to look.

        The shim times tasks itself. It cannot while C code holds the GIL of its process.
        """
        now = time.monotonic()
        is_timed = False
        for worker in self._workers:
            if worker.condemned_at is not None:
                is_timed = True
                if now - worker.condemned_at > _CONDEMNED_SECONDS:
                    worker.process.kill()
            elif (job := worker.running) is not None and job.call.spec.timeout_seconds is not None:
                is_timed = True
                limit = job.call.spec.timeout_seconds + _TIMEOUT_GRACE_SECONDS
                if job.attempt_since is not None and now - job.attempt_since > limit:
                    self._time_out(worker, job)
        return _CONDEMNED_SECONDS if is_timed else None

    def _time_out(self, worker: Worker, job: Job) -> None:
        if self._settle(job, lambda: timed_out(job)):
            worker.condemn()

    def _withdraw(self, job: Job) -> None:
        """Stop a job that was cancelled, wherever it is."""
        worker = job.worker
        if worker is None or job.number not in worker.jobs:
            return
        if job.has_begun:
            worker.condemn()
        else:
            worker.process.writer.add(message(ToWorker.WITHDRAW, job.number))

    # --- workers -----------------------------------------------------------------------------------------------

    def _start_worker(self) -> Worker | None:
        """Start a worker if there may be one more."""
        if len(self._workers) >= self._max_workers:
            return None
        name = f"worker-{next(self._names)}"
        try:
            worker = Worker(WorkerProcess(name, self._shim))
        except OSError as error:  # no memory, or no more processes or files for this user
            self._failed_starts = _MOST_FAILED_STARTS
            self._failed_start(WorkerLost(name, f"it could not start: {error}"))
            return None
        self._workers.append(worker)
        self._selector.register(worker.process.socket, selectors.EVENT_READ, lambda: self._read(worker))
        if worker.process.pidfd is not None:
            self._selector.register(worker.process.pidfd, selectors.EVENT_READ, lambda: self._ended(worker))
        return worker

    def _read(self, worker: Worker) -> bool:
        """Take in what a worker said; False at the end of its stream."""
        if worker not in self._workers:  # it was lost earlier in this turn
            return False
        envelopes = worker.process.reader.read()
        if envelopes is None:
            self._lost(worker)
            return False
        for envelope in envelopes:
            self._take(worker, envelope)
        if worker.condemned_at is not None:
            worker.carry_out()
        return not worker.process.reader.is_dry

    def _ended(self, worker: Worker) -> None:
        """Take in the last words of a process that has ended."""
        while self._read(worker):
            pass
        if worker in self._workers:
            self._lost(worker)

    def _take(self, worker: Worker, envelope: Envelope) -> None:
        kind, *fields = cast("list[Any]", unpackb(envelope.control))
        worker.last_news = time.monotonic()
        match kind:
            case ToPool.OUTCOME:
                number, seconds, packed = fields
                if isinstance(packed, bytes):
                    packed = Envelope(packed, envelope.buffers)
                self._report(worker, number, seconds, packed)
            case ToPool.BEGAN:
                job = worker.jobs.get(fields[0])
                if job is not None:
                    worker.began(job)
                    if job.is_settled:  # it was cancelled, and began before the worker heard of it
                        worker.condemn()
            case ToPool.EVENTS:
                job = worker.jobs.get(fields[0])
                if job is not None:
                    self._record(job, decode_events(fields[1]))
            case ToPool.RETURNED:
                self._queue_again(worker.take_back(fields[0]))
            case ToPool.READY:
                worker.is_ready = True
                self._failed_starts = 0
            case ToPool.UNUSABLE:
                worker.unusable = fields[0]
            case ToPool.UPCALL:
                key, question = fields
                self._desk.take(question, lambda answer: self._order(lambda: self._reply(worker, key, answer)))
            case _:
                self._log.warning("%s sent a message of the unknown kind %r", worker.process.name, kind)

    def _reply(self, worker: Worker, key: bytes, answer: bytes) -> None:
        if worker in self._workers:
            worker.process.writer.add(message(ToWorker.ANSWERS, {key: answer}))

    def _report(self, worker: Worker, number: int, seconds: float, packed: Envelope | list[Any]) -> None:
        job = worker.finish(number)
        if job is None:
            return
        name = job.call.spec.name
        before = self._seconds.get(name, seconds)
        self._seconds[name] = before + 0.2 * (seconds - before)

        def outcome() -> Outcome:
            try:
                return unpack_either(packed, job.call.task_run, worker.process.name)
            except Exception as error:
                return crashed(job.call, error)

        self._settle(job, outcome)

    def _record(self, job: Job, events: list[JournalEvent]) -> None:
        """Bring events of a running call into the journal, and its run up to date."""
        run = job.call.task_run
        for event in events:
            with self._lock:
                if job.is_settled:
                    return
                if isinstance(event, TaskRunEntered) and event.task_run_id == run.id:
                    enter_state(run, event.state)
                    job.attempt_since = time.monotonic() if event.state.is_running() else None
            if not job.held:
                try:
                    job.call.recorder.append(event)
                    continue
                except Exception:  # the engine meets it again, when it records the rest
                    self._log.debug("Events of task run %r wait for its outcome", run.name, exc_info=True)
            job.held.append(event)

    def _queue_again(self, jobs: list[Job]) -> None:
        self._queue.extendleft(job for job in reversed(jobs) if not job.is_settled)

    def _lost(self, worker: Worker) -> None:
        """Settle what a dead worker had begun; what it had not begun goes to another one."""
        self._workers.remove(worker)
        self._selector.unregister(worker.process.socket)
        if worker.process.pidfd is not None:
            self._selector.unregister(worker.process.pidfd)
        worker.process.kill()  # what it started, if anything is left of its group
        cause = worker.process.end(_EXIT_SECONDS)
        worker.process.close()
        waiting = [job for job in worker.jobs.values() if not job.has_begun]
        for job in waiting:
            job.worker = None
        self._queue_again(waiting)
        for job in worker.jobs.values():
            if job.has_begun:
                error = WorkerLost(worker.process.name, cause)
                self._settle(job, lambda job=job, error=error: lost(job, error))
        if not worker.is_ready:
            self._failed_starts += 1
            self._failed_start(WorkerLost(worker.process.name, f"it could not start: {worker.unusable or cause}"))

    def _failed_start(self, error: WorkerLost) -> None:
        """Go on with the workers there are; without any, crash what is queued: the next would not come up either."""
        if self._failed_starts < _MOST_FAILED_STARTS:
            return
        self._failed_starts = 0
        if self._workers:
            self._max_workers = len(self._workers)
            self._log.error("%s; the pool goes on with %s worker processes", error, self._max_workers)
            return
        jobs = list(self._queue)
        self._queue.clear()
        for job in jobs:
            self._settle(job, lambda job=job: crashed(job.call, error))

    # --- the end -----------------------------------------------------------------------------------------------

    def _finish(self, error: BaseException | None) -> None:
        """Settle everything, let idle workers exit and kill busy ones."""
        with self._lock:
            self._is_over = True
            jobs = list(self._unfinished.values())
        for worker in self._workers:
            if error is not None or worker.jobs or not worker.is_ready:
                worker.process.kill()
            else:
                worker.process.writer.add(message(ToWorker.STOP))
                worker.process.writer.flush()
        for job in jobs:
            if error is not None:
                self._settle(job, lambda job=job, error=error: crashed(job.call, error))
            else:
                text = "The flow run ended while the task ran; its worker process was killed."
                if not job.has_begun:
                    text = "The flow run ended before the task began."
                self._settle(job, lambda job=job, text=text: cancelled(job.call, text))
        deadline = time.monotonic() + _EXIT_SECONDS
        for worker in self._workers:
            worker.process.end(max(0.0, deadline - time.monotonic()))
            worker.process.close()
        self._workers.clear()
        self._desk.close()
        self._selector.close()
        self._wake_read.close()
        with self._lock:
            # Orders that come late find nobody: they are for calls that are settled.
            self._is_asleep = False
        self._wake_write.close()
