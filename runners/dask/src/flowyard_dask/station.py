"""What Flowyard keeps on a Dask worker: functions that have arrived, and the reports of the calls that run here.

It is found in the worker's `extensions`, so that several workers in one process do not share it.
"""

from __future__ import annotations

import importlib
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextvars import Token
from typing import Any, Final, NamedTuple, cast

from distributed.utils import sync

from flowyard.logging.configuration import setup_logging
from flowyard.logging.prints import patch_print
from flowyard.process.interrupts import StopSwitch
from flowyard.schemas.events import JournalEvent, LogEmitted, TaskRunEntered
from flowyard.schemas.runs import TaskRun
from flowyard.settings import Settings, find_setting, get_current_settings
from flowyard.settings.setting import PROCESS
from flowyard.task_runners.base import CallContext, Outcome, Shim, TaskSpec
from flowyard.task_runners.metering import Gauge
from flowyard.task_runners.packing import unpack_context, unpack_spec
from flowyard.task_runners.pickling import Pickled
from flowyard.task_runners.versions import versions_here
from flowyard.upcalls.channel import UpcallChannel
from flowyard_dask.reports import (
    Batch,
    Packed,
    add_report,
    pack_end,
    pack_message,
    pack_progress,
    size_of,
    without_events,
)
from flowyard_dask.upcalls import channel_of

EXTENSION: Final = "flowyard"
PREFIX: Final = "flowyard:"
"""How the topics begin under which workers report."""
_SHIM = "flowyard.engine.worker:shim"
_KEPT_SHARED = 256
_PROGRESS_SECONDS = 0.1
"""How long what a running call records may wait for company."""
_COMPANY_SECONDS = 0.35
"""The same for the calls of a chunk after its first one, which is how the flow's process hears that it has begun."""
_OUTCOME_SECONDS = 0.002
_BUSY_SECONDS = 0.025
"""The same for outcomes: while other calls wait for this worker, they come in company."""
_MOST_UNSENT = 5_000
_MOST_WITHDRAWN = 100_000
_MOST_KEPT_BYTES = 1 << 20
"""How much of what a call has reported stays with its value."""


class CallRecorder:
    """The `Recorder` of one call: what it takes is sent while the call runs, in order and numbered."""

    def __init__(self, station: Station, topic: str, key: str, index: int | None, task_run: TaskRun) -> None:
        self.topic = topic
        self.key = key
        self.index = index
        self._station = station
        self._task_run = task_run
        self.start_id = random.getrandbits(62)
        self.stop = StopSwitch()
        """Stops the function of the call."""
        self._lock = threading.Lock()
        self._events: list[JournalEvent] = []
        self._since = self._began = time.monotonic()
        """`_since`: when the first of the events that wait came."""
        self._sent = 0
        self._dropped = 0
        self._is_closed = False
        self._reports: list[Packed] = []

    def append(self, event: JournalEvent) -> None:
        """Take an event."""
        with self._lock:
            if self._is_closed:  # a thread that outlived its call
                return
            if len(self._events) >= _MOST_UNSENT and isinstance(event, LogEmitted):
                self._dropped += 1
                return
            if self._dropped:
                self._events.append(self._note_of_dropped())
            self._events.append(event)
            if len(self._events) == 1:
                self._since = time.monotonic()
        # Most calls end before what they record is due; their outcome then finds the clock running.
        self._station.wake(self.patience)

    @property
    def patience(self) -> float:
        """How many seconds what this call reports may wait: of a chunk, only the first call says that it has begun."""
        return _COMPANY_SECONDS if self.index else _BUSY_SECONDS

    def _note_of_dropped(self) -> LogEmitted:
        dropped, self._dropped = self._dropped, 0
        last = next(event for event in reversed(self._events) if isinstance(event, LogEmitted))
        text = (
            f"{dropped} log records of this task run were dropped here: it wrote them faster than they could be sent."
        )
        return last._replace(level=30, message=text)

    def is_worth_telling(self) -> bool:
        """Say whether the scheduler should know that the call, or its chunk, has begun: most end before."""
        return bool(self.index) or time.monotonic() - self._began >= 0.8 * _BUSY_SECONDS

    def has_unsent(self) -> bool:
        """Say whether something waits that goes before the outcome."""
        return bool(self._events) and not self._is_closed

    def report_progress(self) -> bytes | None:
        """Return a report of what waits, but for the final state and what follows: that goes with the outcome.

        None when nothing has waited for long: most calls end soon, and report all at once.
        """
        with self._lock:
            events = self._events
            if self._is_closed or not events or time.monotonic() - self._since < 0.9 * _PROGRESS_SECONDS:
                return None
            end = self._index_of_final_state(events)
            if not end:
                return None
            self._events = events[end:]
            report = pack_progress(self.start_id, self._sent, events[:end])
            self._sent += end
            self._reports.append(report)
        return report

    def _index_of_final_state(self, events: list[JournalEvent]) -> int:
        for number, event in enumerate(events):
            if isinstance(event, TaskRunEntered) and event.task_run_id == self._task_run.id and event.state.is_final():
                return number
        return len(events)

    def close(self, outcome: Outcome) -> list[Packed]:
        """Take nothing any more, and give the outcome what was not sent; return the reports so far."""
        with self._lock:
            self._is_closed = True
            if self._dropped:
                self._events.append(self._note_of_dropped())
            outcome.events = [*self._events, *outcome.events]
            self._events = []
            return self._reports

    @property
    def sent(self) -> int:
        """How many events have been sent."""
        return self._sent


class Ended(NamedTuple):
    """A call that has ended, and is not packed yet."""

    recorder: CallRecorder
    outcome: Outcome
    is_kept: bool
    nbytes: int
    value: Pickled | None
    """The pickle of the value, where there is one already."""
    reports: list[Packed]
    """All reports of the call; the last one is added when it is packed."""


def to_keep(reports: list[Packed]) -> list[Packed]:
    """Return reports to keep beside a value: of a long story, the events in the middle are left out."""
    size = sum(map(size_of, reports))
    if size <= _MOST_KEPT_BYTES:
        return reports
    kept = list(reports)
    for number, report in enumerate(reports[1:-1], 1):
        assert isinstance(report, bytes), "only the last report of a call is not in bytes of its own"
        kept[number], _ = without_events(report)
        size += size_of(kept[number]) - len(report)
        if size <= _MOST_KEPT_BYTES:
            break
    return kept


class Station:
    """Flowyard's part of one `distributed.Worker`, whose event loop sends and whose threads execute tasks."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self._lock = threading.Lock()
        self._specs: OrderedDict[bytes, TaskSpec] = OrderedDict()
        self._contexts: OrderedDict[bytes, tuple[CallContext, Settings]] = OrderedDict()
        self._running: dict[tuple[str, int | None], CallRecorder] = {}
        self._noted: set[str] = set()
        """Keys of running calls that the scheduler was told of."""
        self._outbox: list[tuple[str, str, int | None, Packed]] = []
        self._ended_calls: list[Ended] = []
        """Those whose outcomes wait to be packed together."""
        self._packing = threading.Lock()
        """Held until what was taken from there has its report."""
        self._ended: list[tuple[str, str]] = []
        self._wake_at: float | None = None
        self._timer: Any = None
        self._withdrawn: OrderedDict[tuple[str, int | None], None] = OrderedDict()
        self._channels: OrderedDict[str, UpcallChannel] = OrderedDict()
        self._told: OrderedDict[str, None] = OrderedDict()
        """Flow runs that know what versions this worker runs."""
        self._worker_settings = get_current_settings()
        """What this worker's own environment says."""
        self._flow_settings: OrderedDict[tuple[tuple[str, str], ...], Settings] = OrderedDict()
        """The settings of each flow, one object for equal ones: at each call it is only asked whether it is another."""
        self._ruling = self._worker_settings
        self._ruling_lock = threading.Lock()
        self.where = f"Dask worker {worker.address}"
        self.is_in_process = worker.address.startswith("inproc:")
        """Values never leave this process: whether they can be pickled does not matter."""
        name = f"{worker.name}"
        # One thread: what the process uses is what the call uses, but for Dask's own bit.
        self.gauge = Gauge(
            worker.address if name == worker.address else f"{name} ({worker.address})",
            is_alone=worker.state.nthreads == 1 and not self.is_in_process,
        )
        module, _, function = _SHIM.partition(":")
        self.shim: Shim = getattr(importlib.import_module(module), function)()
        setup_logging()
        patch_print()

    # --- what calls share ----------------------------------------------------------------------------------

    def spec(self, topic: str, key: bytes, task_name: str) -> TaskSpec:
        """Return the function and the options of a task; they are asked for once.

        Raises:
            UnpicklableValue: it cannot be rebuilt here.
        """
        found = self._specs.get(key)
        if found is None:
            found = unpack_spec(self._fetch(topic, key), task_name)
            self._keep(self._specs, key, found)
        return found

    def context(self, topic: str, key: bytes) -> tuple[CallContext, Settings]:
        """Return the context of a call, which is asked for once, and the settings that rule in the call."""
        found = self._contexts.get(key)
        if found is None:
            context = unpack_context(self._fetch(topic, key))
            found = context, self._settings_of_flow(context.settings)
            self._keep(self._contexts, key, found)
        return found

    def _settings_of_flow(self, values: Mapping[str, str]) -> Settings:
        key = tuple(sorted(values.items()))
        found = self._flow_settings.get(key)
        if found is None:
            found = self._worker_settings
            if values and not self.is_in_process:
                wanted: dict[Any, Any] = {find_setting(name): value for name, value in values.items()}
                made = found.copy_with_update(wanted)
                found = found if made == found else made
            self._keep(self._flow_settings, key, found)
        return found

    def channel(self, topic: str) -> UpcallChannel:
        """Return how the calls of a flow run ask its process."""
        found = self._channels.get(topic)
        if found is None:
            found = channel_of(self.worker, topic)
            self._keep(self._channels, topic, found)
        return found

    def _keep(self, shelf: OrderedDict[Any, Any], key: Any, value: Any) -> None:
        with self._lock:
            shelf[key] = value
            if len(shelf) > _KEPT_SHARED:
                shelf.popitem(last=False)

    def _fetch(self, topic: str, key: bytes) -> bytes:
        worker = self.worker
        found = sync(worker.loop, worker.scheduler.get_metadata, keys=[topic, key.hex()], default=None)
        if found is None:
            raise LookupError(f"the scheduler has forgotten flow run {topic!r}: it has ended")
        return cast("bytes", found)

    def enter_settings(self, settings: Settings) -> Token[Any] | None:
        """Let the settings of a flow rule in the call that begins in this thread; returns what ends that.

        Calls of other flows may run in other threads. What is one for the whole process goes by the call that began
        last: the loggers, and threads that a task starts without a copy of its context.
        """
        if self.is_in_process:
            return None
        token = PROCESS.enter_call(settings)
        if settings is not self._ruling:
            self._let_rule(settings)
        return token

    def leave_settings(self, token: Token[Any] | None) -> None:
        """End what `enter_settings` began."""
        if token is not None:
            PROCESS.leave_call(token)

    def _let_rule(self, settings: Settings) -> None:
        with self._ruling_lock:
            setup_logging()
            PROCESS.let_rule(settings, self._ruling)
            self._ruling = settings

    # --- calls ------------------------------------------------------------------------------------------------

    def begin(self, topic: str, key: str, index: int | None, task_run: TaskRun) -> CallRecorder | None:
        """Return the recorder of a call that begins; None when the call was withdrawn."""
        recorder = CallRecorder(self, topic, key, index, task_run)
        with self._lock:
            if self._withdrawn and ((key, index) in self._withdrawn or (key, None) in self._withdrawn):
                return None
            self._running[key, index] = recorder
        return recorder

    def end(
        self,
        recorder: CallRecorder,
        outcome: Outcome,
        *,
        is_kept: bool,
        nbytes: int,
        value: Pickled | None,
        can_wait: bool,
    ) -> Sequence[Packed]:
        """Send the outcome of a call; return all its reports.

        Args:
            recorder: of the call.
            outcome: becomes Failed when its value has to travel and cannot be packed.
            is_kept: the value stays here.
            nbytes: the size of the value, as far as it is known.
            value: its pickle, where there is one already.
            can_wait: packing will not fail. In a chunk it waits for company then, and the list that is returned is
                whole when the chunk is `done`: together it takes half as long as between two calls of a user.
        """
        ended = Ended(recorder, outcome, is_kept, nbytes, value, recorder.close(outcome))
        waits = can_wait and recorder.index is not None and not recorder.sent
        if waits:
            with self._lock:
                self._running.pop((recorder.key, recorder.index), None)
                self._ended_calls.append(ended)
        else:
            with self._packing:
                self._pack([ended])
            with self._lock:
                self._running.pop((recorder.key, recorder.index), None)
        if recorder.index is not None:
            self.wake(recorder.patience)
        else:
            self._wake_for_outcomes()
        return ended.reports if waits else to_keep(ended.reports)

    def _pack(self, calls: Sequence[Ended]) -> None:
        """Put the outcomes of calls into the outbox."""
        reports: list[tuple[str, str, int | None, Packed]] = []
        for recorder, outcome, is_kept, nbytes, value, kept in calls:
            packed = pack_end(
                recorder.start_id,
                recorder.sent,
                outcome,
                where=self.where,
                is_kept=is_kept,
                nbytes=nbytes,
                value=value,
            )
            kept.append(packed)
            reports.append((recorder.topic, recorder.key, recorder.index, packed))
        with self._lock:
            self._outbox += reports

    def _pack_ended(self) -> None:
        """Pack the outcomes that waited for company."""
        with self._packing:
            with self._lock:
                calls, self._ended_calls = self._ended_calls, []
            try:
                self._pack(calls)
            except BaseException:  # `done` meets it again, where Dask sees it
                with self._lock:
                    self._ended_calls[:0] = calls
                raise

    def done(self, topic: str, key: str) -> None:
        """Note that all calls of a Dask task are done."""
        self._pack_ended()
        self._wake_for_outcomes()
        if key in self._noted:
            with self._lock:
                self._noted.discard(key)
                self._ended.append((topic, key))
            # At once: the next call here must not be taken for one that waits behind this one.
            self.wake(0.0)

    def withdraw(self, calls: list[tuple[str, int | None]], *, stops: bool) -> list[tuple[str, int | None]]:
        """Keep calls from beginning here; return those that have begun, which are stopped where Python code can be."""
        with self._lock:
            begun = [call for call in calls if call in self._running]
            switches = [self._running[call].stop for call in begun]
            self._withdraw([call for call in calls if call not in self._running])
        if stops:
            for switch in switches:
                switch.stop()
        return begun

    def give_up(self, keys: Sequence[str]) -> None:
        """Stop all calls of Dask tasks that nobody waits for any more."""
        gone = set(keys)
        with self._lock:
            self._withdraw([(key, None) for key in keys])
            switches = [recorder.stop for (key, _), recorder in self._running.items() if key in gone]
        for switch in switches:
            switch.stop()

    def _withdraw(self, calls: Sequence[tuple[str, int | None]]) -> None:
        self._withdrawn.update(dict.fromkeys(calls))
        while len(self._withdrawn) > _MOST_WITHDRAWN:
            self._withdrawn.popitem(last=False)

    # --- sending ----------------------------------------------------------------------------------------------

    def _wake_for_outcomes(self) -> None:
        self.wake(_BUSY_SECONDS if self.worker.state.ready else _OUTCOME_SECONDS)

    def wake(self, seconds: float) -> None:
        """Have what waits sent, at most `seconds` from now. Mostly it is going to be: then this costs nothing."""
        now = time.monotonic()
        at = now + seconds
        # One that is long over was given up: what stops a call, as its timeout does, can do it between these lines.
        if self._wake_at is None or not now - 1.0 < self._wake_at <= at:
            self._wake_at = at
            self.worker.loop.add_callback(self._arm, at)

    def _arm(self, at: float) -> None:
        loop = self.worker.loop
        if self._timer is not None:
            loop.remove_timeout(self._timer)
        self._timer = loop.call_later(max(at - time.monotonic(), 0.0), self._flush)

    def _flush(self) -> None:
        """Send one message for each flow run. On the worker's event loop."""
        self._wake_at = self._timer = None
        self._pack_ended()
        with self._lock:
            outbox, self._outbox = self._outbox, []
            ended, self._ended = self._ended, []
            running = list(self._running.values())
        messages: dict[str, tuple[list[str], list[str], Batch]] = {}
        waits = is_early = False

        def message(topic: str) -> tuple[list[str], list[str], Batch]:
            return messages.setdefault(topic, ([], [], []))

        for recorder in running:
            if recorder.key not in self._noted:
                if not recorder.is_worth_telling():
                    is_early = True
                elif self._note(recorder):
                    message(recorder.topic)[0].append(recorder.key)
            report = recorder.report_progress()
            if report is None:
                waits = waits or recorder.has_unsent()
                continue
            add_report(message(recorder.topic)[2], recorder.key, recorder.index, report)
        for topic, key, index, report in outbox:
            add_report(message(topic)[2], key, index, report)
        for topic, key in ended:
            message(topic)[1].append(key)
        for topic, content in messages.items():
            versions = None if topic in self._told else (self.where, tuple(versions_here()))
            self._told[topic] = None
            if len(self._told) > _KEPT_SHARED:
                self._told.popitem(last=False)
            self.worker.log_event(topic, pack_message(*content, versions=versions))
        if (waits or is_early) and self._wake_at is None:
            seconds = _BUSY_SECONDS if is_early else _PROGRESS_SECONDS - _BUSY_SECONDS
            self._wake_at = at = time.monotonic() + seconds
            self._arm(at)

    def _note(self, recorder: CallRecorder) -> bool:
        """Note that the scheduler is told of a running call; False when the call has ended."""
        with self._lock:
            is_running = self._running.get((recorder.key, recorder.index)) is recorder
            if is_running:
                self._noted.add(recorder.key)
        return is_running


def station_of(worker: Any) -> Station:
    """Return the station of a worker; the first call makes it."""
    extensions = cast("dict[str, Any]", worker.extensions)
    found = extensions.get(EXTENSION)
    return cast("Station", found if found is not None else extensions.setdefault(EXTENSION, Station(worker)))
