"""Tasks overlapping in one process: threads for sync tasks, an event loop for async ones."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from typing_extensions import override

from flowyard.aio import asyncio, running_loop
from flowyard.context import Slot
from flowyard.process.loops import BackgroundLoop
from flowyard.settings import FLOWYARD_TASK_RUNNER_THREAD_POOL_MAX_WORKERS
from flowyard.task_runners.base import Handle, Outcome, TaskCall, TaskConcurrencyType, TaskRunner
from flowyard.task_runners.outcomes import cancelled, crashed

_DEFAULT_THREADS = 250
_EAGER_THREADS = (os.cpu_count() or 1) + 4
_GROWTH_TICK_SECONDS = 0.002
_BUSY_SHARE = 0.7
_JOIN_SECONDS = 1.0


class _Job:
    __slots__ = ("call", "handle", "place", "task")

    def __init__(self, call: TaskCall) -> None:
        self.call = call
        self.handle = Handle(call.task_run.id)
        self.place: _Place | None = None
        """The place of an async task that runs, where places are counted."""
        self.task: asyncio.Task[None] | None = None
        """Set while the coroutine of an async task runs."""


class ConcurrentTaskRunner(TaskRunner):
    """Runs sync tasks on a bounded pool of threads that grows when needed, and async tasks on an event loop.

    `max_workers` bounds how many tasks *run* at once, sync and async together; a task that waits for other tasks is
    not counted while it waits, so that nested submits cannot deadlock. None: as many async tasks as there are, and
    sync tasks up to `FLOWYARD_TASK_RUNNER_THREAD_POOL_MAX_WORKERS` (250).
    """

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__()
        if max_workers is not None and (max_workers.__class__ is not int or max_workers < 1):
            raise ValueError(f"max_workers={max_workers!r} must be a whole number of at least 1, or None for no limit")
        self.max_workers = max_workers
        self._lock = threading.Lock()
        self._has_work = threading.Condition(self._lock)
        self._background = BackgroundLoop()
        self._reset()

    def _reset(self) -> None:
        self._queue: deque[_Job] = deque()
        self._returning: deque[Callable[[], None]] = deque()
        """Tasks that waited for others and want their place back; they come before new ones."""
        self._running = 0
        self._limit = _DEFAULT_THREADS
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        """How many threads wait for work and were not woken yet."""
        self._is_growing = False
        self._is_stopping = False
        self._async_jobs: set[_Job] = set()

    @property
    @override
    def concurrency_type(self) -> TaskConcurrencyType:
        return TaskConcurrencyType.CONCURRENT

    @override
    def options(self) -> dict[str, Any]:
        return {"max_workers": self.max_workers}

    @override
    def capacity(self) -> int | None:
        return self.max_workers

    @override
    def submit(self, call: TaskCall, upstream: Mapping[int, Handle] | None = None) -> Handle:
        self._require_started()
        job = _Job(call)
        if call.spec.is_async and self.max_workers is None:
            self._start_async(job, counts=False)
            return job.handle
        with self._lock:
            self._queue.append(job)
            self._dispatch()
        return job.handle

    @override
    def waits_for_loop(
        self, handle: Handle | None, loop: asyncio.AbstractEventLoop, giving_back: Slot | None = None
    ) -> bool:
        if self.max_workers is None:
            return False
        with self._lock:
            before = sum(
                job.place is not None and job.place.is_wanted and job.place is not giving_back
                for job in self._async_jobs
                if self._loop_of(job) is loop
            )
            for job in self._queue:
                if job.handle is handle:
                    break
                before += job.call.spec.is_async and self._loop_of(job) is loop
            else:
                if handle is not None:
                    return False
            return before >= self._limit

    def _loop_of(self, job: _Job) -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop | None = job.call.loop
        return loop if loop is not None else self._background.get()

    @override
    def cancel(self, handle: Handle) -> bool:
        if handle.outcome is not None:
            return False
        with self._lock:
            queued = next((job for job in self._queue if job.handle is handle), None)
            if queued is not None:
                self._queue.remove(queued)
            running = next((job for job in self._async_jobs if job.handle is handle), None)
        if queued is not None:
            return handle.complete(cancelled(queued.call))
        if running is not None and running.task is not None:
            running.task.get_loop().call_soon_threadsafe(running.task.cancel)
            return True
        return False

    @override
    def _start(self, stack: ExitStack) -> None:
        self._reset()
        self._limit = self.max_workers or FLOWYARD_TASK_RUNNER_THREAD_POOL_MAX_WORKERS.value() or _DEFAULT_THREADS
        stack.callback(self._background.close)
        stack.callback(self._stop)

    def _stop(self) -> None:
        with self._lock:
            self._is_stopping = True
            left = list(self._queue)
            self._queue.clear()
            self._has_work.notify_all()
            idle = self._running == 0
            threads = list(self._threads)
        for job in left:
            job.handle.complete(cancelled(job.call, "The flow run ended before the task began."))
        if idle:
            # Nothing runs, so this takes microseconds. A thread that is stuck in user code is a daemon and is left.
            for thread in threads:
                if thread is not threading.current_thread():
                    thread.join(_JOIN_SECONDS)

    # --- places: all of this under the lock -------------------------------------------------------------

    def _dispatch(self) -> None:
        """Give free places to tasks that come back, then to queued ones."""
        while self._running < self._limit and self._returning:
            self._running += 1
            self._returning.popleft()()
        while self._queue and self._running < self._limit and self._queue[0].call.spec.is_async:
            self._running += 1
            self._start_async(self._queue.popleft(), counts=True)
        if self._queue and self._running < self._limit:
            if self._idle:
                self._idle -= 1
                self._has_work.notify()
            elif len(self._threads) < _EAGER_THREADS:
                self._add_thread()
            elif not self._is_growing:
                self._is_growing = True
                threading.Thread(target=self._grow, name="flowyard-pool", daemon=True).start()

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"flowyard-worker-{len(self._threads)}", daemon=True)
        self._threads.add(thread)
        thread.start()

    def _grow(self) -> None:
        """Double the threads while work waits and the processor does not.

        Threads beyond the processors help tasks that wait (for a network, a disk, a sleep) and hurt tasks that
        compute: 5,000 no-op tasks take twice as long on 250 threads as on 6. The process's own use of the processor
        tells the two apart.
        """
        wall, busy = time.monotonic(), time.process_time()
        while True:
            time.sleep(_GROWTH_TICK_SECONDS)
            wall_before, busy_before = wall, busy
            wall, busy = time.monotonic(), time.process_time()
            share = (busy - busy_before) / max(wall - wall_before, 1e-9)
            with self._lock:
                free = self._limit - self._running
                if not self._queue or free <= 0 or self._is_stopping:
                    self._is_growing = False
                    return
                if share < _BUSY_SHARE and not self._idle:
                    for _ in range(min(len(self._queue), len(self._threads), free)):
                        self._add_thread()

    # --- sync tasks -------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Execute queued calls until the runner stops: what each thread of the pool does."""
        while True:
            with self._lock:
                while not (self._queue and self._running < self._limit and not self._queue[0].call.spec.is_async):
                    if self._is_stopping:
                        self._threads.discard(threading.current_thread())
                        return
                    self._idle += 1
                    self._has_work.wait()  # `_dispatch` has counted it out: each call that comes wakes another thread
                job = self._queue.popleft()
                self._running += 1
            try:
                outcome = job.call.shim.execute(job.call, _Place(self))
            except BaseException as error:  # a shim does not raise; if it does, nobody may wait for ever
                outcome = crashed(job.call, error)
            # The place is free before the outcome is known: whoever waits for it may submit at once.
            with self._lock:
                self._running -= 1
                self._dispatch()
            job.handle.complete(outcome)
            del job, outcome  # an idle thread must not keep the last value alive

    # --- async tasks ------------------------------------------------------------------------------------

    def _start_async(self, job: _Job, *, counts: bool) -> None:
        loop = self._loop_of(job)
        if counts:
            job.place = _Place(self)
        self._async_jobs.add(job)
        loop.call_soon_threadsafe(self._create_task, loop, job)

    def _create_task(self, loop: asyncio.AbstractEventLoop, job: _Job) -> None:
        job.task = loop.create_task(self._run_async(job))

    async def _run_async(self, job: _Job) -> None:
        outcome: Outcome | None = None
        try:
            outcome = await job.call.shim.execute_async(job.call, job.place)
        except BaseException as error:
            outcome = crashed(job.call, error)
            raise
        finally:
            self._async_jobs.discard(job)
            if job.place is not None:
                with self._lock:
                    self._running -= 1
                    self._dispatch()
            job.handle.complete(outcome or cancelled(job.call))


class _Place(Slot):
    """The place of one running task."""

    __slots__ = ("_runner", "is_wanted")

    def __init__(self, runner: ConcurrentTaskRunner) -> None:
        self._runner = runner
        self.is_wanted = True
        """The task has the place or stands in line for it; not while it waits for others."""

    @override
    def release(self) -> None:
        runner = self._runner
        with runner._lock:  # pyright: ignore[reportPrivateUsage]  one class in two parts
            self.is_wanted = False
            runner._running -= 1  # pyright: ignore[reportPrivateUsage]
            runner._dispatch()  # pyright: ignore[reportPrivateUsage]

    def _queue_up(self, wake: Callable[[], None]) -> None:
        runner = self._runner
        with runner._lock:  # pyright: ignore[reportPrivateUsage]
            self.is_wanted = True
            runner._returning.append(wake)  # pyright: ignore[reportPrivateUsage]
            runner._dispatch()  # pyright: ignore[reportPrivateUsage]

    @override
    def acquire(self) -> None:
        if running_loop() is not None:
            # An async task that blocked its loop. Who has the place now may need this loop to turn: blocking for it
            # could last for ever, and tasks on a loop that is blocked do not run anyway.
            runner = self._runner
            with runner._lock:  # pyright: ignore[reportPrivateUsage]
                self.is_wanted = True
                runner._running += 1  # pyright: ignore[reportPrivateUsage]
            return
        gate = threading.Lock()
        gate.acquire()
        self._queue_up(gate.release)
        gate.acquire()

    @override
    async def acquire_async(self) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            loop.call_soon_threadsafe(waiter.set_result, None)

        self._queue_up(wake)
        await waiter
