"""Where the journal of a process writes that reports to a server: to the server, or to a spool while that is away.

What is in the spool is sent first, in order; so the server sees everything in the order in which it happened.
"""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from typing_extensions import override

from flowyard.exceptions import LeaseLost, RecordsNotDurable, RequestRefused, ServerAway
from flowyard.journal.batches import Group, Operation, Segment, Source, cause_of, not_durable
from flowyard.journal.write_behind import Transactions
from flowyard.remote.connection import JOURNAL, Connection, compressed, decompressed
from flowyard.remote.refused import put_aside
from flowyard.remote.spool import Frame, Spool, spool_files, spool_path
from flowyard.schemas.events import JournalEvent
from flowyard.schemas.reports import RUNS, VERSION, Batch, Reporter
from flowyard.schemas.wire import encode_events
from flowyard.schemas.wire_values import packb
from flowyard.upcalls.calls import Question, open_answer
from flowyard.upcalls.values import pack_value, unpack_value

_logger = logging.getLogger("flowyard.journal")
_EVENTS_IN_A_BATCH = 1000
_LARGEST_BATCH = 900_000
_LARGEST_REQUEST = 4_000_000
"""Before it is compressed."""
_LARGEST_BODY = 900_000
"""After it: proxies let no more than 1 MB through, if nobody tells them to (nginx: `client_max_body_size`)."""
# 20 MB; what a process recorded under older ones ended long ago.
_LEASES_REMEMBERED = 100_000
_Key = tuple[UUID | None, int]
"""A flow run, None for what happened outside of one, and the token of the lease."""
# Sending what was spooled takes turns with what comes in.
_TURN_SECONDS = 0.5


class Delivery(Transactions):
    """Sends batches, or keeps them for later. For the thread of the journal's writer, except where it says so.

    Args:
        connection: to the server.
        reporter: this process.
        folder: of the spools of all processes of this home.
    """

    def __init__(self, connection: Connection, reporter: Reporter, folder: Path) -> None:
        self._connection = connection
        self._reporter = reporter
        self._folder = folder
        self._spool = Spool(spool_path(folder, reporter), connection.url, reporter)
        self._left_behind = list(_adopted(folder, connection.url))
        self._sources: weakref.WeakValueDictionary[_Key, Source] = weakref.WeakValueDictionary()
        # How many batches of a lease were sent. Not kept with its source, which lives as long as somebody records.
        self._numbers: OrderedDict[_Key, int] = OrderedDict()
        self._lost: list[LeaseLost] = []
        self._sending: Spool | None = None
        """Whose frame is being sent; None for what was not kept on disk before."""
        self._next_try = 0.0
        self._failures = 0
        self._caught_up = threading.Event()
        if not self._left_behind:
            self._caught_up.set()
        self.is_durable = True
        self.is_behind = bool(self._left_behind)
        self.has_entered = False
        """Whether the server has a lease for what this process does outside of flow runs. Any thread may look."""
        self.away_since: float | None = None
        """When the server was found to be away, by `time.monotonic`. Any thread may look."""

    # --- the journal ------------------------------------------------------------------------------------------

    @override
    def commit(self, segments: list[Segment], *, is_careful: bool) -> list[LeaseLost]:
        self._lost = []
        self._send_spooled()
        numbers: dict[_Key, int] = {}
        waiting: list[Batch] = []
        for segment in segments:
            for group in segment.groups:
                for batch in self._batches(group, numbers, is_careful=is_careful):
                    if sum(len(other.events) for other in waiting) + len(batch.events) > _LARGEST_REQUEST:
                        self._send_batches(waiting)
                        waiting = []
                    waiting.append(batch)
            operation = segment.operation
            if operation is not None and operation.act is not None:
                self._send_batches(waiting)
                waiting = []
                self._operate(operation)
        self._send_batches(waiting)
        self._remember(numbers)
        is_durable = any(segment.operation is not None for segment in segments)
        if is_durable:
            self._spool.sync()
        self.is_durable = is_durable or self._spool.is_empty
        return self._lost

    @override
    def abandon(self) -> None:
        """Do nothing: numbers are kept when all is sent, and what was sent twice counts once."""

    @override
    def is_transient(self, error: Exception) -> bool:
        return isinstance(error, OSError)

    @override
    def fault(self, segments: list[Segment], error: BaseException) -> RecordsNotDurable:
        cause = f"the server {self._connection.url} is away, and they cannot be kept: {cause_of(error)}"
        fault = not_durable(segments, f"{cause} (in {self._folder})", "make room there, or start the server")
        fault.__cause__ = error
        return fault

    @override
    def disconnect(self) -> None:
        if not self._spool.is_empty:
            _logger.warning(
                "%d requests (%d bytes) for the server %s are kept in %s; the next flow of this home sends them, or "
                "`flowyard journal replay` does",
                self._spool.count,
                self._spool.size,
                self._connection.url,
                self._spool.path,
            )
        self._spool.close()
        for spool in self._left_behind:
            spool.close()

    @override
    def drop_connection(self) -> None:
        self._spool.forget()
        for spool in self._left_behind:
            spool.forget()

    def wait_until_caught_up(self, timeout: float) -> bool:
        """Wait until the server has everything; False when it has not in time. For any thread."""
        return self._caught_up.wait(timeout)

    def tell(self, question: Question) -> bytes | None:
        """Send a call of the control plane in its place among the events; None when it is kept for later."""
        frame = Frame(address_of(question), compressed(self.body_of(question)))
        if self.is_behind:
            self._keep(frame)
            return None
        try:
            return self._connection.send(frame.path, frame.packed)
        except ServerAway as error:
            self._go_away(error)
            self._keep(frame)
            return None

    def body_of(self, question: Question) -> bytes:
        """Return the body of a call of the control plane. For any thread."""
        return self._body(question.arguments())

    # --- batches ----------------------------------------------------------------------------------------------

    def _batches(self, group: Group, numbers: dict[_Key, int], *, is_careful: bool) -> Iterable[Batch]:
        source = group.source
        if source.fault is not None:
            return ()
        key = (None, 1) if source.lease is None else (source.lease.flow_run_id, source.lease.token)
        flow_run_id, token = key
        self._sources[key] = source
        self.has_entered = self.has_entered or flow_run_id is None
        try:
            parts = list(_packed(group.events))
        except Exception as error:
            if not is_careful:
                raise
            self._fail(source, not_durable([Segment([group], None)], cause_of(error)))
            return ()
        first = numbers.get(key, self._numbers.get(key, 0)) + 1
        numbers[key] = first + len(parts) - 1
        return [Batch(flow_run_id, token, first + index, part) for index, part in enumerate(parts)]

    def _remember(self, numbers: Mapping[_Key, int]) -> None:
        for key, number in numbers.items():
            self._numbers[key] = number
            self._numbers.move_to_end(key)
        while len(self._numbers) > _LEASES_REMEMBERED:
            self._numbers.popitem(last=False)

    def _send_batches(self, batches: Sequence[Batch]) -> None:
        if not batches:
            return
        frame = Frame(JOURNAL, compressed(self._body(list(batches))))
        if len(frame.packed) > _LARGEST_BODY and len(batches) > 1:
            half = len(batches) // 2
            self._send_batches(batches[:half])
            self._send_batches(batches[half:])
            return
        if self.is_behind:
            self._keep(frame)
            return
        try:
            self.deliver(frame)
        except ServerAway as error:
            self._go_away(error)
            self._keep(frame)

    def deliver_first(self, spool: Spool) -> bool:
        """Send the first frame of a spool; False when there is none. What is refused is put aside.

        Raises:
            ServerAway, OSError: it must be sent later.
        """
        frame = spool.first()
        if frame is None:
            return False
        self._sending = spool
        try:
            self.deliver(frame)
        finally:
            self._sending = None
        spool.drop_first()
        return True

    def deliver(self, frame: Frame) -> None:
        """Send a frame and deal with the answer.

        Raises:
            ServerAway: it must be sent later.
        """
        try:
            content = self._connection.send(frame.path, frame.packed)
        except RequestRefused as error:
            self._deal_with_refusal(frame, error)
            return
        if frame.path != JOURNAL:
            try:
                open_answer(content)
            except Exception as error:  # there is nobody left to be told
                _logger.error("what was kept while the server was away came too late: %s", error)
                self._put_aside(frame, f"{error}")
            return
        try:
            refusals: list[dict[str, Any]] = json.loads(content)["refused"]
        except (ValueError, LookupError, TypeError) as error:
            raise self._connection.foreign(f"it answers {content[:200]!r} to POST {JOURNAL}") from error
        if refusals:
            batches = self._batches_in(frame)
            for refused in refusals:
                index: int = refused["index"]
                self._put_aside(Frame(JOURNAL, compressed(self._body([batches[index]]))), refused["reason"])
                self._refuse(batches[index], refused["kind"], refused["reason"])

    def _put_aside(self, frame: Frame, reason: str) -> None:
        if self._sending is not None:
            path = put_aside(self._sending, frame, reason)
            _logger.error("it is put aside in %s; `flowyard journal status` says what to do", path)

    def _deal_with_refusal(self, frame: Frame, error: RequestRefused) -> None:
        """Take out of a request what the server can never store; the others shall not pay for it."""
        batches = self._batches_in(frame) if frame.path == JOURNAL else []
        if len(batches) > 1:
            for batch in batches:
                self.deliver(Frame(JOURNAL, compressed(self._body([batch]))))
            return
        if not batches:
            _logger.error("a change that was kept while the server was away cannot be made: %s", error)
        self._put_aside(frame, f"{error}")
        for batch in batches:
            runs = () if batch.flow_run_id is None else (str(batch.flow_run_id),)
            fault = RecordsNotDurable(1, runs, f"{error}", "this cannot be stored; report it")
            source = self._sources.get((batch.flow_run_id, batch.token))
            _logger.error("%s", fault)
            if source is not None:
                self._fail(source, fault)

    def _refuse(self, batch: Batch, kind: str, reason: str) -> None:
        source = self._sources.get((batch.flow_run_id, batch.token))
        what = "tasks outside of a flow" if batch.flow_run_id is None else f"flow run {batch.flow_run_id}"
        if source is None:
            _logger.error("records of %s that were kept while the server was away are refused: %s", what, reason)
        elif source.fault is None:
            if kind == "refused":
                lost = LeaseLost(str(batch.flow_run_id))
                source.fault = lost
                self._lost.append(lost)
            else:
                runs = () if batch.flow_run_id is None else (str(batch.flow_run_id),)
                self._fail(source, RecordsNotDurable(1, runs, reason, "the spool was damaged, or another process sent"))

    @staticmethod
    def _fail(source: Source, fault: RecordsNotDurable) -> None:
        if source.fault is None:
            source.fault = fault
            _logger.error("%s", fault)

    def _operate(self, operation: Operation[Any]) -> None:
        assert operation.act is not None
        try:
            operation.keep(operation.act(self), None)
        except OSError:  # of the spool: tried again
            raise
        except Exception as error:
            operation.keep(None, error)

    def _body(self, content: Any) -> bytes:
        return pack_value([VERSION, self._reporter, content])

    @staticmethod
    def _batches_in(frame: Frame) -> list[Batch]:
        return cast("list[Batch]", unpack_value(decompressed(frame.packed))[2])

    # --- while the server is away -------------------------------------------------------------------------------

    def _keep(self, frame: Frame) -> None:
        self._spool.append(frame)
        self._caught_up.clear()
        self.is_behind = True

    def _go_away(self, error: ServerAway) -> None:
        if self.away_since is None:
            self.away_since = time.monotonic()
            _logger.warning(
                "the server %s is away (%s); what is recorded is kept in %s and sent when it is back",
                error.where,
                error.cause,
                self._spool.path,
            )
        pause = self._connection.pause_after(error, self._failures)
        self._failures += 1
        self._next_try = time.monotonic() + pause

    def _send_spooled(self) -> None:
        """Send what waits, oldest first, until it is sent, the server is away or the turn is over."""
        if not self.is_behind or time.monotonic() < self._next_try:
            return
        end = time.monotonic() + _TURN_SECONDS
        sent = 0
        while time.monotonic() < end:
            spool = self._left_behind[0] if self._left_behind else self._spool
            try:
                is_sent = self.deliver_first(spool)
            except ServerAway as error:
                self._go_away(error)
                return
            if is_sent:
                sent += 1
            elif spool is not self._spool:
                self._left_behind.pop(0).close()
            else:
                break
        self._failures = 0
        if self.away_since is not None:
            _logger.warning("the server %s is back; %d kept requests are sent", self._connection.url, sent)
            self.away_since = None
        if self._spool.is_empty and not self._left_behind:
            self.is_behind = False
            self._caught_up.set()


def address_of(question: Question) -> str:
    """Return where a call of the control plane is sent to, after the address of the API."""
    return f"/control/{question.noun or RUNS}/{question.method}"


def replay(spool: Spool, connection: Connection) -> int:
    """Send all frames of a dead process's spool, delete it, and return how many there were.

    Raises:
        ServerAway: not everything could be sent; what was is dropped.
    """
    delivery = Delivery(connection, spool.reporter, spool.path.parent / "none")
    for sent in itertools.count():
        if not delivery.deliver_first(spool):
            spool.close()
            return sent
    raise AssertionError("unreachable")


def _adopted(folder: Path, url: str) -> Iterable[Spool]:
    """Yield the spools for a server that dead processes have left, oldest first; they are this process's now."""
    for path in spool_files(folder):
        spool = Spool.adopt(path)
        if spool is None:
            continue
        if spool.url == url:
            yield spool
        else:
            spool.release()


def _packed(events: Sequence[JournalEvent]) -> Iterable[bytes]:
    """Yield events as bytes, so many at a time that a request can carry them."""
    for begin in range(0, len(events), _EVENTS_IN_A_BATCH):
        yield from _bounded(events[begin : begin + _EVENTS_IN_A_BATCH])


def _bounded(events: Sequence[JournalEvent]) -> Iterable[bytes]:
    content = packb(encode_events(events))
    if len(content) <= _LARGEST_BATCH or len(events) == 1:
        yield content
        return
    half = len(events) // 2
    yield from _bounded(events[:half])
    yield from _bounded(events[half:])
