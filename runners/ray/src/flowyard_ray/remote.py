"""What a Ray worker executes: a piece of work, sent by `dispatch.Dispatcher`."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Literal, NamedTuple

from typing_extensions import TypeVar

from flowyard.logging.configuration import setup_logging
from flowyard.logging.loggers import get_logger
from flowyard.logging.prints import patch_print
from flowyard.schemas.wire import encode_events
from flowyard.schemas.wire_values import packb, unpackb
from flowyard.settings import temporary_settings
from flowyard.settings.model import find_setting
from flowyard.task_runners.base import CallContext, Outcome, Shim, TaskCall, TaskSpec
from flowyard.task_runners.envelopes import Envelope
from flowyard.task_runners.metering import Gauge, Meter
from flowyard.task_runners.outcomes import not_executed
from flowyard.task_runners.packing import ArrivedCall, unpack_context, unpack_spec
from flowyard.task_runners.packing_outcomes import pack_outcome
from flowyard.task_runners.pickling import Pickled
from flowyard.task_runners.plain_calls import ArrivedPlainCall
from flowyard.task_runners.plain_outcomes import pack_plain
from flowyard.task_runners.versions import Versions, mismatch, versions_here
from flowyard.upcalls.channel import UpcallChannel
from flowyard_ray.api import ray
from flowyard_ray.flight_recorder import FlightRecorder
from flowyard_ray.mailbox import Post
from flowyard_ray.recording import Record
from flowyard_ray.upcalls import channel_to
from flowyard_ray.values import Kept, KeptList, Natives, keep, load, pack_kept, unpack_kept
from flowyard_ray.work import Packed, Report, WorkItem, pack_reports, unpack_work

_SHIM = "flowyard.engine.worker", "shim"  # by name: the engine stands above task runners
_FLUSH_SECONDS = 0.1
_LONG_SECONDS = 0.3
"""How long a batch is executed until calls of it that ended are reported while it goes on."""
_MOST_EVENTS = 1000
_MOST_REPORT_BYTES = 1024 * 1024
_LARGEST_INLINE = 16 * 1024
"""Up to how many bytes a value is sent to the flow's process with its outcome: Ray would do that too."""
_MOST_INLINE_BYTES = 256 * 1024
_INLINE_OVERHEAD = 64
_REMEMBERED = 256
MISSING_MODULE_HINT = (
    "it must be importable on the workers of the cluster: install it there, put it on their PYTHONPATH, or send it "
    'along with RayTaskRunner(init_kwargs={"runtime_env": {"working_dir": ".", "pip": [...]}})'
)

SAME_VERSIONS_HINT = "the workers need the same versions of Python, Flowyard and cloudpickle as the flow's process"

T = TypeVar("T")


class Extras(NamedTuple):
    """What only some pieces of work have: Ray must see references to keep them alive."""

    natives: Sequence[Sequence[Any]]
    """For each call, the references of Ray in its arguments."""
    spec: Sequence[Any]
    """A reference to the packed spec when that is large."""


# Exporting a function to Ray takes milliseconds; the next flow run of this process mostly has the same tasks.
@functools.lru_cache(64)
def remote_function(name: str, spec_hash: bytes, spec_data: bytes | None, max_calls: int = 0) -> Any:
    """Return what Ray exports once for all calls of a task: workers fetch it, the user's function inside, by its id.

    Args:
        name: what Ray's tools show.
        spec_hash: tells the spec apart on a worker.
        spec_data: the packed spec; None when it is large and comes by reference.
        max_calls: how often a worker process executes it before it ends; 0 for any number.
    """
    sender = tuple(versions_here())

    def flowyard_task(work: Packed, extras: Extras | None, *inputs: KeptList) -> tuple[bytes, KeptList]:
        try:
            return this_worker().execute(spec_hash, spec_data, work, extras, inputs)
        except Exception as error:
            explain(error, sender)
            raise

    # A worker of Ray dies of a function whose name is not ASCII.
    flowyard_task.__name__ = flowyard_task.__qualname__ = name.encode("ascii", "replace").decode()
    return ray.remote(max_calls=max_calls)(flowyard_task) if max_calls else ray.remote(flowyard_task)


def explain(error: Exception, sender: tuple[str, ...]) -> None:
    """Raise an error that says so when this worker runs other versions than the sender of a call that failed here."""
    text = mismatch({f"Ray worker {os.getpid()}": versions_here()}, here=Versions(*sender))
    if text is not None:
        raise RuntimeError(f"{type(error).__name__}: {error}. {text}") from error


class _Current(NamedTuple):
    token: int
    record: Record


class RayWorker:
    """What one Ray worker process knows: functions, settings, and the way to the mailbox."""

    def __init__(self) -> None:
        module, function = _SHIM
        self._shim: Shim = getattr(importlib.import_module(module), function)()
        self._name = f"Ray worker {os.getpid()} on node {ray.util.get_node_ip_address()}"
        self._gauge = Gauge(self._name, is_alone=True)
        self._specs: OrderedDict[bytes, TaskSpec] = OrderedDict()
        self._contexts: OrderedDict[bytes, CallContext] = OrderedDict()
        self._run_facts: bytes | None = None
        self._post: Post | None = None
        self._upcalls: UpcallChannel | None = None
        self._settings: Mapping[str, str] = {}
        self._settings_stack = ExitStack()
        self._loop: asyncio.Runner | None = None
        self._natives = Natives()
        self._current: _Current | None = None
        self._pending: deque[WorkItem] | None = None
        """Calls of the present piece of work that have not begun and can be given back."""
        self._ended: deque[tuple[int, Report, Kept]] = deque()
        """Calls of the present piece of work that ended, and were not reported yet."""
        self._work_began = 0.0
        self._under_way: list[tuple[int, bytes]] = []
        """Reports that were sent, and not taken by the mailbox yet."""
        self._given_back: list[WorkItem] = []
        """Calls that were given back, and were not reported yet."""
        self._recorder: FlightRecorder | Literal[False] | None = None
        self._last_current: _Current | None = None
        """What was executed when the flushing thread looked last."""
        self._is_busy = threading.Event()
        self._sent: tuple[int, int] = (0, 0)
        patch_print()
        threading.Thread(target=self._flush_now_and_then, name="flowyard-flush", daemon=True).start()

    # --- calls ------------------------------------------------------------------------------------------

    def execute(
        self,
        spec_hash: bytes,
        spec_data: bytes | None,
        work: Packed,
        extras: Extras | None,
        inputs: Sequence[KeptList],
    ) -> tuple[bytes, KeptList]:
        """Execute calls in order; return their packed outcomes, and what stays in Ray.

        Calls that were given back are missing at the end of both.
        """
        run_facts, context_data, items, gives_back = unpack_work(work)
        context = _remembered(self._contexts, context_data, lambda: unpack_context(context_data))
        self._enter_run(run_facts, context.settings)
        arguments = [unpack_kept(argument) for argument in inputs]
        self._work_began = time.monotonic()

        def spec(task_name: str) -> TaskSpec:
            def unpack() -> TaskSpec:
                data = ray.get(extras.spec[0]) if spec_data is None and extras is not None else spec_data
                assert data is not None
                return unpack_spec(data, task_name)

            return _remembered(self._specs, spec_hash, unpack)

        reports: list[Report] = []
        kept: list[Kept] = []
        # Taken from its two ends by two threads, see `_give_back`.
        pending = deque(items)
        recorder = self._flight_recorder() if gives_back else None
        if gives_back:
            self._pending = pending
        if recorder is not None:
            recorder.take_off(items[0].token)
        left_bytes = _MOST_INLINE_BYTES
        while pending:
            try:
                item = pending.popleft()
            except IndexError:
                break
            if recorder is not None:
                recorder.begin()
            meter = self._gauge.meter(item.nbytes)
            natives = extras.natives[len(reports)] if extras is not None and extras.natives else ()
            report, left = self._execute_one(_arrived(item), item, spec, context, natives, arguments, meter)
            if recorder is not None:
                recorder.ended(self._in_few_bytes(report, left))
            if pending:
                self._ended.append((item.token, report, left))
            size = _INLINE_OVERHEAD + (left.data.size if left.data is not None else 0)
            if left.is_plain and size <= _LARGEST_INLINE and size <= left_bytes:
                left_bytes -= size
                report = report._replace(kept=left)
            reports.append(report)
            kept.append(left)
        self._pending = None
        self._ended.clear()
        if recorder is not None:
            recorder.land()
        return pack_reports(self._name, reports), pack_kept(kept)

    def _execute_one(
        self,
        arrived: ArrivedCall | ArrivedPlainCall,
        item: WorkItem,
        spec: Callable[[str], TaskSpec],
        context: CallContext,
        natives: Sequence[Any],
        inputs: Sequence[Sequence[Kept]],
        meter: Meter,
    ) -> tuple[Report, Kept]:
        record = Record(arrived.task_run.id)
        self._current = _Current(item.token, record)
        if not self._is_busy.is_set():
            self._is_busy.set()
        try:
            held = {key: inputs[argument][index].held() for key, argument, index in item.inputs}
            call = arrived.open(
                spec=spec(arrived.task_run.task_name),
                context=context,
                shim=self._shim,
                recorder=record,
                load=functools.partial(_load, natives=natives) if natives else Pickled.load,
            )
            call.held = held
            call.meter = meter
            call.upcalls = self._upcalls
            meter.loaded()
            outcome = self._run_user_code(call)
        except BaseException as error:  # an interrupt or exit that the shim let pass: the worker itself goes on
            outcome = not_executed(arrived.task_run, error, MISSING_MODULE_HINT)
        self._current = None
        first, events = record.close()
        outcome.events = [*events, *outcome.events]
        left = keep(outcome, self._natives)
        # With the value packed: that is what `keep` does.
        outcome.metrics = meter.read()._replace(bytes_out=left.size)
        packed = pack_plain(outcome, stays=True, value=None)
        return Report(first, packed or pack_outcome(outcome, self._name, value_stays=True)), left

    def _flight_recorder(self) -> FlightRecorder | None:
        if self._recorder is None:
            try:
                self._recorder = FlightRecorder()
            except OSError:  # no place for files: what dies with this process is lost
                self._recorder = False
        return self._recorder or None

    def _run_user_code(self, call: TaskCall) -> Outcome:
        if not call.spec.is_async:
            return self._shim.execute(call)
        if self._loop is None:
            self._loop = asyncio.Runner()
        return self._loop.run(self._shim.execute_async(call))

    def _enter_run(self, run_facts: bytes, settings: Mapping[str, str]) -> None:
        """Take over settings and mailbox of the flow run whose call this is; mostly it is the one of the last call."""
        if run_facts != self._run_facts:
            name, namespace = unpackb(run_facts)
            self._post = Post(name, namespace)
            self._upcalls = channel_to(name, namespace)
            setup_logging()
            self._run_facts = run_facts
        if settings != self._settings:
            self._settings_stack.close()
            chosen = {find_setting(key): value for key, value in settings.items()}
            self._settings_stack.enter_context(temporary_settings(chosen))
            self._settings = settings
            setup_logging()

    # --- letters ----------------------------------------------------------------------------------------

    def _flush_now_and_then(self) -> None:
        """Send what running calls record. Sleeps for good while nothing runs."""
        while True:
            self._is_busy.wait()
            time.sleep(_FLUSH_SECONDS)
            current, post = self._current, self._post
            if current is not None and post is not None:
                self._give_back(current)
                try:
                    self._flush(current, post)
                except Exception:  # the mailbox is gone or cannot be reached: the outcome brings everything
                    get_logger("task_runners.ray").debug("Letters cannot be sent", exc_info=True)
                    time.sleep(1.0)
                self._last_current = current
                continue
            self._is_busy.clear()
            if self._current is not None:  # it came while the flag was cleared
                self._is_busy.set()

    def _flush(self, current: _Current, post: Post) -> None:
        reply = post.reply()
        token, sent = self._sent
        if reply is not None:
            if reply[3]:
                self._under_way = []
            if reply[0] == current.token:
                token, sent, confirmed, _ = reply
                current.record.forget(confirmed)
        if token != current.token:
            token, sent = current.token, 0
        self._sent = token, sent
        # What ends soon is told by the outcome, which brings everything.
        is_slow = self._last_current is current
        has_reports = self._given_back or self._under_way or (self._ended and self._is_long_since(self._work_began))
        if not (is_slow or has_reports) or not post.is_free():
            return
        events = current.record.since(sent)[:_MOST_EVENTS] if is_slow else []
        reports = self._under_way = self._under_way or self._next_reports()
        if events or reports:
            post.send(token, sent, len(events), packb(encode_events(events)) if events else b"", reports)

    def _is_long_since(self, moment: float) -> bool:
        return time.monotonic() - moment >= _LONG_SECONDS

    def _next_reports(self) -> list[tuple[int, bytes]]:
        reports: list[tuple[int, bytes]] = [(item.token, b"") for item in self._given_back]
        self._given_back = []
        size = 0
        with contextlib.suppress(IndexError):  # all are taken; or the work is done, and its outcome brings them
            while size < _MOST_REPORT_BYTES:
                token, report, left = self._ended.popleft()
                packed = self._in_few_bytes(report, left)
                if packed is not None:
                    reports.append((token, packed))
                    size += len(packed)
        return reports

    def _in_few_bytes(self, report: Report, left: Kept) -> bytes | None:
        """Return how a call ended, with what it left; None when that is large, or has references in it.

        Those are this worker's: nobody could read them after its death.
        """
        if not left.is_plain:
            return None
        return packb([pack_reports(self._name, [report]), pack_kept([left])])

    def _give_back(self, current: _Current) -> None:
        """Take back from this worker's present work what has not begun, when a call has been executed for a tick."""
        pending = self._pending
        if pending is None or self._last_current is not current:
            return
        with contextlib.suppress(IndexError):
            while self._current is current:
                self._given_back.append(pending.pop())


@functools.cache
def this_worker() -> RayWorker:
    """Return what this process knows as a worker: one object for all the tasks that Ray has it execute, one by one."""
    return RayWorker()


def _arrived(item: WorkItem) -> ArrivedCall | ArrivedPlainCall:
    return ArrivedCall(item.call) if isinstance(item.call, Envelope) else item.call


def _load(data: Pickled, *, natives: Sequence[Any]) -> Any:
    return load(data, natives)


def _remembered(cache: OrderedDict[bytes, T], key: bytes, make: Callable[[], T]) -> T:
    found = cache.get(key)
    if found is None:
        found = cache[key] = make()
        if len(cache) > _REMEMBERED:
            cache.popitem(last=False)
    return found
