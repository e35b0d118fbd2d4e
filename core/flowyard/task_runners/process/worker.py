"""A worker process: takes calls from a socket, executes them one at a time, and reports.

The main thread runs user code. One thread reads the socket, so that calls can be taken back and the end of the pool is
seen while user code runs; another sends what a call records, at most 100 ms later. A worker opens no database and asks
no server.
"""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import importlib
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, cast

from flowyard.exceptions import UnpicklableValue
from flowyard.logging.configuration import setup_logging
from flowyard.logging.prints import patch_print
from flowyard.rules.bookkeeping import enter_state
from flowyard.rules.crashes import crashed_state
from flowyard.schemas.events import JournalEvent, TaskRunEntered
from flowyard.schemas.runs import utcnow
from flowyard.schemas.states import State, StateDetails, StateType
from flowyard.schemas.wire import encode_events
from flowyard.schemas.wire_values import packb, unpackb
from flowyard.settings import temporary_settings
from flowyard.settings.model import find_setting
from flowyard.task_runners.base import CallContext, Outcome, Shim, TaskSpec
from flowyard.task_runners.envelopes import Envelope
from flowyard.task_runners.metering import Gauge, Meter
from flowyard.task_runners.packing import ArrivedCall, unpack_context, unpack_spec
from flowyard.task_runners.packing_outcomes import pack_outcome
from flowyard.task_runners.plain_outcomes import pack_plain
from flowyard.task_runners.process.channel import FrameReader, write_all
from flowyard.task_runners.process.messages import ToPool, ToWorker, message
from flowyard.task_runners.process.recording import EventBuffer
from flowyard.upcalls.channel import UpcallChannel
from flowyard.upcalls.worker import OpenQuestions

_FLUSH_SECONDS = 0.05
_LAST_BREATH_SECONDS = 0.1
_TIMED_THREAD = "flowyard-timed-"  # what the engine calls the threads of functions with a timeout
_PARENT_CHECK_MILLISECONDS = 1000


class _Lazy:
    """A shared part of calls: its bytes, and what they say once somebody asked."""

    __slots__ = ("_data", "_value")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._value: Any = None

    def spec(self, task_name: str) -> TaskSpec:
        """Return the spec; one that cannot be rebuilt fails every call of its task, and may be tried again."""
        if self._value is None:
            self._value = unpack_spec(self._data, task_name)
        return self._value

    def context(self) -> CallContext:
        """Return the context."""
        if self._value is None:
            self._value = unpack_context(self._data)
        return self._value


class _Job:
    __slots__ = ("context", "envelope", "number", "spec")

    def __init__(self, number: int, envelope: Envelope, spec: _Lazy, context: _Lazy) -> None:
        self.number = number
        self.envelope = envelope
        self.spec = spec
        self.context = context


class Worker:
    """What one worker process does, from its first message to its last."""

    def __init__(self, channel: socket.socket, shim: Shim, name: str) -> None:
        self._channel = channel
        self._shim = shim
        self._name = name
        self._gauge = Gauge(name, is_alone=True)
        self._sending = threading.Lock()
        self._changed = threading.Condition(threading.Lock())
        self._jobs: deque[_Job] = deque()
        self._is_stopping = False
        self._shared: dict[bytes, _Lazy] = {}
        self._current: EventBuffer | None = None
        self._is_busy = threading.Event()
        self._loop: asyncio.Runner | None = None
        self._is_haunted = False
        """A task that was timed out goes on in a thread that nothing can stop but the end of this process."""
        self._settings: Mapping[str, str] = {}
        self._settings_stack = ExitStack()
        self._questions = OpenQuestions()
        self._upcalls = UpcallChannel("ProcessPoolTaskRunner", self._ask)

    def run(self) -> None:
        """Execute calls until the pool says stop."""
        for target in (self._read, self._flush_now_and_then):
            threading.Thread(target=target, name=f"flowyard-{target.__name__.strip('_')}", daemon=True).start()
        unsent = [message(ToPool.READY)]
        job = self._next(wait=False)
        while True:
            if job is None:
                self._send(*unsent)
                unsent = []
                job = self._next(wait=True)
                if job is None:
                    break
            # One system call tells that the last call is done and that the next one has begun. Both must be in the
            # kernel's hands before user code runs: it may end the process.
            self._send(*unsent, message(ToPool.BEGAN, job.number))
            unsent = [self._execute(job)]
            if self._is_haunted:
                self._send(*unsent)
                _die()
            job = self._next(wait=False)
        if self._loop is not None:
            self._loop.close()

    # --- messages -------------------------------------------------------------------------------------

    def _send(self, *envelopes: Envelope) -> None:
        if not envelopes:
            return
        with self._sending:
            try:
                write_all(self._channel, list(envelopes))
            except OSError:  # nobody listens any more
                _die()

    def _read(self) -> None:
        """Take messages in, until the pool is gone. With it goes this process, whatever user code is doing."""
        reader = FrameReader(self._channel)
        parent = os.getppid()
        poll = select.poll()  # `select.select` does not take descriptors above 1023
        poll.register(self._channel, select.POLLIN)
        while True:
            # Looks at the parent as well: a child that the user forked from it may hold the other end open.
            if not poll.poll(_PARENT_CHECK_MILLISECONDS):
                if os.getppid() != parent:
                    break
                continue
            envelopes = reader.read()
            if envelopes is None:
                break
            for envelope in envelopes:
                self._take(envelope)
        if not self._is_stopping:
            _die()

    def _take(self, envelope: Envelope) -> None:
        kind, *fields = cast("list[Any]", unpackb(envelope.control))
        match kind:
            case ToWorker.CALL:
                number, control, spec_hash, context_hash = fields
                job = _Job(
                    number, Envelope(control, envelope.buffers), self._shared[spec_hash], self._shared[context_hash]
                )
                with self._changed:
                    self._jobs.append(job)
                    self._changed.notify()
            case ToWorker.SPEC | ToWorker.CONTEXT:
                self._shared[fields[0]] = _Lazy(fields[1])
            case ToWorker.FORGET:
                for key in fields[0]:
                    self._shared.pop(key, None)
            case ToWorker.GIVE_BACK:
                with self._changed:
                    taken = [self._jobs.pop().number for _ in range(min(fields[0], len(self._jobs)))]
                self._send(message(ToPool.RETURNED, taken[::-1]))
            case ToWorker.WITHDRAW:
                with self._changed:
                    found = [job for job in self._jobs if job.number == fields[0]]
                    for job in found:
                        self._jobs.remove(job)
                if found:
                    self._send(message(ToPool.RETURNED, [job.number for job in found]))
            case ToWorker.STOP:
                with self._changed:
                    self._is_stopping = True
                    self._changed.notify()
            case ToWorker.ANSWERS:
                self._questions.answered(fields[0])
            case _:
                pass  # of a later version; nothing depends on it

    def _next(self, *, wait: bool) -> _Job | None:
        with self._changed:
            while not self._jobs:
                if not wait or self._is_stopping:
                    return None
                self._changed.wait()
            return self._jobs.popleft()

    def _flush_now_and_then(self) -> None:
        """Send what running calls record. Sleeps for good while nothing runs."""
        while True:
            self._is_busy.wait()
            time.sleep(_FLUSH_SECONDS)
            current = self._current
            if current is not None:
                current.flush()
                continue
            self._is_busy.clear()
            if self._current is not None:  # it came while the flag was cleared
                self._is_busy.set()

    # --- calls ----------------------------------------------------------------------------------------

    def _ask(self, question: bytes, timeout: float) -> bytes:
        return self._questions.ask(lambda key: self._send(message(ToPool.UPCALL, key, question)), timeout)

    def _execute(self, job: _Job) -> Envelope:
        started = time.perf_counter()
        meter = self._gauge.meter(job.envelope.nbytes)
        arrived = ArrivedCall(job.envelope)

        def send(events: list[JournalEvent]) -> None:
            self._send(message(ToPool.EVENTS, job.number, encode_events(events)))

        buffer = EventBuffer(arrived.task_run.id, send)
        self._current = buffer
        if not self._is_busy.is_set():
            self._is_busy.set()
        try:
            outcome = self._run_user_code(arrived, job, buffer, meter)
        except UnpicklableValue as error:
            outcome = _outcome_without_shim(arrived, _failed(error, arrived))
        except BaseException as error:  # an interrupt or exit that the shim let pass: the worker itself goes on
            outcome = _outcome_without_shim(arrived, crashed_state(error, now=utcnow(), details=_details(arrived)))
        self._current = None
        outcome.events = [*buffer.close(), *outcome.events]
        outcome.metrics = meter.read()
        packed = pack_plain(outcome, stays=False, value=None) or pack_outcome(outcome, self._name)
        control, buffers = packed if isinstance(packed, Envelope) else (packed, ())
        seconds = time.perf_counter() - started
        return Envelope(packb([int(ToPool.OUTCOME), job.number, seconds, control]), buffers)

    def _run_user_code(self, arrived: ArrivedCall, job: _Job, buffer: EventBuffer, meter: Meter) -> Outcome:
        context = job.context.context()
        if context.settings != self._settings:
            self._use_settings(context.settings)
        spec = job.spec.spec(arrived.task_run.task_name)
        call = arrived.open(spec=spec, context=context, shim=self._shim, recorder=buffer)
        call.meter = meter
        meter.loaded()
        call.upcalls = self._upcalls
        if not spec.is_async:
            outcome = self._shim.execute(call)
            if spec.timeout_seconds is not None:
                self._is_haunted = _is_haunted()
            return outcome
        if self._loop is None:
            self._loop = asyncio.Runner()
        return self._loop.run(self._shim.execute_async(call))

    def _use_settings(self, values: Mapping[str, str]) -> None:
        self._settings_stack.close()
        self._settings_stack.enter_context(
            temporary_settings({find_setting(name): value for name, value in values.items()})
        )
        self._settings = values


def _is_haunted() -> bool:
    for thread in threading.enumerate():
        if thread.name.startswith(_TIMED_THREAD):
            thread.join(_LAST_BREATH_SECONDS)  # one that has just done its work
            if thread.is_alive():
                return True
    return False


def _details(arrived: ArrivedCall) -> StateDetails:
    return StateDetails(flow_run_id=arrived.task_run.flow_run_id, task_run_id=arrived.task_run.id)


def _failed(error: UnpicklableValue, arrived: ArrivedCall) -> State[Any]:
    message_ = f"Task run encountered an exception. {type(error).__name__}: {error}"
    return State(StateType.FAILED, message=message_, data=error, state_details=_details(arrived))


def _outcome_without_shim(arrived: ArrivedCall, state: State[Any]) -> Outcome:
    run = arrived.task_run
    enter_state(run, state)
    return Outcome(run, state, [TaskRunEntered(run.id, state)], is_synthesised=True)


# --- life and death -----------------------------------------------------------------------------------------


def _die() -> None:
    """End this process and everything it started: the flow's process is gone."""
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _die_with_parent(life: int) -> None:
    """Have the kernel kill this process group as soon as the flow's process is gone, even while C code holds the GIL.

    `life` is the read end of a pipe whose other end only the flow's process has; nothing is ever written to it.
    """
    if not hasattr(fcntl, "F_SETSIG") or os.getpgrp() != os.getpid():
        return  # not Linux: the thread that reads the socket sees the end as soon as it gets the GIL
    fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(life, select.POLLIN)
    if poll.poll(0):  # it went before this was set up
        _die()


def _ignore(signal_number: int, frame: object) -> None:
    del signal_number, frame


def main(start: Mapping[str, Any]) -> None:
    """Be a worker; `start` is what `launch.py` wrote."""
    # Ctrl-C is for the flow's process to decide. A handler, not SIG_IGN: programs that tasks start would inherit that.
    signal.signal(signal.SIGINT, _ignore)
    faulthandler.enable()
    _die_with_parent(start["life"])
    channel = socket.socket(fileno=start["channel"])
    multiprocessing.current_process().name = start["name"]
    try:
        sys.argv[:] = start["argv"]
        setup_logging()
        patch_print()
        module, _, function = str(start["shim"]).partition(":")
        shim = getattr(importlib.import_module(module), function)()
    except BaseException as error:
        write_all(channel, [message(ToPool.UNUSABLE, f"{type(error).__name__}: {error}")])
        raise
    Worker(channel, shim, f"{start['name']} (pid {os.getpid()})").run()
