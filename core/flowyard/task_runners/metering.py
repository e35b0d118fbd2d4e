"""Measuring calls where they execute: time, processor time, memory, bytes.

About 3 microseconds a call in a worker. In the flow's process only calls that take long are measured: to know about
the others would cost more than it tells, their states have the time.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time

from flowyard.schemas.metrics import TaskMetrics

if sys.platform == "linux":
    import resource

WORTH_MEASURING_SECONDS = 0.001
"""Calls that take less are not measured in the flow's process, and anywhere not for memory."""
_STATUS = "/proc/self/status"
_PEAK = re.compile(rb"VmHWM:\s+(\d+) kB")


class Meter:
    """Measures one call, all its attempts in one place together."""

    __slots__ = (
        "_arrived",
        "_began",
        "_bytes_in",
        "_cpu_began",
        "_cpu_seconds",
        "_gauge",
        "_is_alone",
        "_load_seconds",
        "_run_seconds",
        "_worker",
    )

    def __init__(self, worker: str, *, gauge: Gauge | None = None, bytes_in: int | None = None) -> None:
        self._worker = worker
        self._gauge = gauge
        self._is_alone = gauge is not None and gauge.is_alone
        self._bytes_in = bytes_in
        self._began = time.time()
        self._arrived = time.perf_counter()
        self._load_seconds: float | None = None
        self._run_seconds: float | None = None
        self._cpu_began: float | None = None
        self._cpu_seconds: float | None = None

    def begin(self) -> None:
        """Note that the user's function begins. Without this its processor time is not measured."""
        # Of this process if it executes one call at a time, else of this thread.
        self._cpu_began = time.process_time() if self._is_alone else time.thread_time()

    def ran(self, seconds: float, *, elsewhere: bool = False) -> None:
        """Note that the user's function ran; once for each attempt. `elsewhere`: in a thread of its own."""
        self._run_seconds = (self._run_seconds or 0.0) + seconds
        if self._cpu_began is None or (elsewhere and not self._is_alone):
            return
        now = self._gauge.look() if self._gauge is not None and self._is_alone else time.thread_time()
        self._cpu_seconds = (self._cpu_seconds or 0.0) + max(now - self._cpu_began, 0.0)

    def loaded(self) -> None:
        """Note that function and arguments are there."""
        self._load_seconds = time.perf_counter() - self._arrived

    def read(self) -> TaskMetrics:
        """Return what was measured up to now."""
        growth = None
        if self._gauge is not None and self._run_seconds is not None and self._run_seconds >= WORTH_MEASURING_SECONDS:
            growth = self._gauge.memory_growth()
        return TaskMetrics(
            worker=self._worker,
            began=self._began,
            worker_seconds=None if self._gauge is None else time.perf_counter() - self._arrived,
            load_seconds=self._load_seconds,
            run_seconds=self._run_seconds,
            cpu_seconds=self._cpu_seconds,
            memory_growth=growth,
            bytes_in=self._bytes_in,
        )


class Gauge:
    """Makes the meters of the calls of one worker process.

    Args:
        worker: the name of the worker.
        is_alone: the process executes one call at a time, so that what the process used is what the call used.
    """

    def __init__(self, worker: str, *, is_alone: bool) -> None:
        self.worker = worker
        self.is_alone = is_alone
        self._status = _open_status() if is_alone else None
        self._faults: int = 0
        self._peak_faults: int = -1
        """How many page faults there had been when the peak was read."""
        self._peak = self._read_peak()

    def meter(self, bytes_in: int) -> Meter:
        """Return the meter of a call that has just arrived."""
        return Meter(self.worker, gauge=self, bytes_in=bytes_in)

    def look(self) -> float:
        """Return the processor time of this process so far, and note its page faults, for `memory_growth`."""
        if sys.platform != "linux":
            return time.process_time()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._faults = usage.ru_minflt + usage.ru_majflt
        return usage.ru_utime + usage.ru_stime

    def memory_growth(self) -> int | None:
        """Return how many bytes the peak of this process has grown since the last question; None if nobody knows."""
        if self._peak is None:
            return None
        # Without a page fault memory has not grown. To read the peak takes 15 microseconds, and 30 when the call has
        # driven the code for it out of the processor's caches.
        if self._faults == self._peak_faults:
            return 0
        self._peak_faults = self._faults
        peak = self._read_peak()
        if peak is None:
            return None
        before, self._peak = self._peak, peak
        return max(peak - before, 0)

    def _read_peak(self) -> int | None:
        # Not `resource.getrusage`: its figure begins with the peak of the process that started this one.
        if self._status is None:
            return None
        found = _PEAK.search(os.pread(self._status, 4096, 0))
        return int(found[1]) * 1024 if found else None

    def close(self) -> None:
        """Let the file go that memory is read from."""
        status, self._status = self._status, None
        if status is not None:
            os.close(status)


def meter_in_process() -> Meter:
    """Return a meter for a call that executes in this thread of the flow's process."""
    return Meter(threading.current_thread().name)


def _open_status() -> int | None:
    try:
        return os.open(_STATUS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # not Linux
        return None
