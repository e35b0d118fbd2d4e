"""The transactions of the journal's writer: what has gathered is committed together, under the leases that it names."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from flowyard.exceptions import LeaseLost, RecordsNotDurable
from flowyard.journal.batches import Group, Operation, Segment, Source, cause_of, not_durable, share_of
from flowyard.journal.emission import Emission
from flowyard.journal.write_behind import Transactions
from flowyard.ports import Lease
from flowyard.store import leases, slot_calls
from flowyard.store.database import Database
from flowyard.store.plain import PlainConnection
from flowyard.store.projection import Projection

T = TypeVar("T")
_logger = logging.getLogger("flowyard.journal")
# A statement of SQLite has a sign for each id.
_SHARES_AT_ONCE = 500
_DoAll = Callable[[Any, Sequence[Any]], Sequence[Any]]
_Shares = dict[_DoAll, list[tuple[Operation[Any], Any]]]
_Refusals = list[tuple[Source, LeaseLost | RecordsNotDurable]]


class GroupCommit(Transactions):
    """Commits segments, one transaction at a time. For the thread of the writer."""

    def __init__(self, database: Database, owner: leases.Owner) -> None:
        self._database = database
        self._owner = owner
        self._connection: PlainConnection | None = None
        self.projection: Projection | None = None
        """The unfinished task runs in memory; None before the first commit."""
        self.is_durable = True
        """Whether the last commit waited for the disk. Any thread may look."""
        self.is_behind = False
        self.emission: Emission | None = None
        """What stores events, where there are any. Set before the first commit, or while nothing is committed."""
        self.has_entered = False
        """Whether this process has a lease of its own, for what happens outside of flow runs. Any thread may look."""

    def commit(self, segments: list[Segment], *, is_careful: bool) -> list[LeaseLost]:
        """Write segments in one transaction and return the leases that are found lost with it.

        Whatever it raises, nothing was written; call `abandon` then. Operations have their results, but are not
        answered.

        Args:
            segments: in the order in which they were said.
            is_careful: what cannot be stored is refused by itself, and costs the others nothing.
        """
        connection, projection = self._connect()
        is_durable = any(segment.operation is not None and segment.operation.is_durable for segment in segments)
        emission = self.emission
        if emission is not None:
            connection.note_in(emission.begin())
        self._database.dialect.begin_write(connection, is_durable=is_durable)
        refused: _Refusals = []
        has_written = False
        shares: _Shares = {}
        for segment in segments:
            if segment.groups:
                self._operate_together(connection, shares)
            for group in segment.groups:
                has_written = True
                if is_careful:
                    self._write_carefully(connection, projection, group, refused)
                elif not self._write_group(connection, projection, group):
                    refused.append((group.source, _lost(group)))
            operation = segment.operation
            if operation is not None and operation.act is not None:
                has_written = True
                share = share_of(operation)
                if share is None:
                    self._operate(connection, operation)
                else:
                    shares.setdefault(share.do_all, []).append((operation, share.wish))
        self._operate_together(connection, shares)
        if is_durable and not has_written and not self.is_durable:
            self._database.dialect.touch(connection)
        has_events = emission is not None and emission.write(connection)
        called = slot_calls.due(connection, datetime.now(UTC))
        if called:
            self._database.dialect.announce(connection, called)
        connection.commit()
        if called:
            self._database.bell.ring(called)
        if has_events and emission is not None:
            emission.on_stored()
        self.is_durable = is_durable
        projection.settle()
        return _note(refused, projection)

    def abandon(self) -> None:
        """Forget a transaction that failed: what is in memory may not be what is on disk."""
        self.has_entered = False
        if self.projection is not None:
            self.projection.forget_all()
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; the next commit opens one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*self._database.errors):
                connection.close()

    def drop_connection(self) -> None:
        """Let go of the connection of another process, without a word to the database."""
        self._connection = None

    def _connect(self) -> tuple[PlainConnection, Projection]:
        if self._connection is None:
            self._connection = self._database.connect()
        if self.projection is None:
            self.projection = Projection(self._database.dialect)
        return self._connection, self.projection

    def _write_group(self, connection: PlainConnection, projection: Projection, group: Group) -> bool:
        """Write the events of one source; False when they are refused."""
        source = group.source
        if source.fault is not None:
            return True  # already said
        lease = source.lease or self._enter_process(connection)
        verdict = leases.advance(connection, lease.flow_run_id, lease.token, group.batch)
        if verdict is leases.Advance.ACCEPTED:
            projection.apply(connection, group.events)
        elif verdict is leases.Advance.REPEATED:
            # Committed before, although the answer got lost; what is in memory may be older than that.
            projection.forget_all()
        return verdict is not leases.Advance.REFUSED

    def _write_carefully(
        self, connection: PlainConnection, projection: Projection, group: Group, refused: _Refusals
    ) -> None:
        savepoint, said = connection.savepoint(), _said(connection)
        try:
            if not self._write_group(connection, projection, group):
                refused.append((group.source, _lost(group)))
        except Exception as error:
            if self.is_transient(error):
                raise
            savepoint.rollback()
            _unsay(connection, said)
            projection.forget_all()
            self.has_entered = False
            refused.append((group.source, not_durable([Segment([group], None)], cause_of(error))))
        else:
            savepoint.commit()

    def _operate_together(self, connection: PlainConnection, shares: _Shares) -> None:
        """Do what many wait for, all that is of one kind at once."""
        for do_all, operations in shares.items():
            for start in range(0, len(operations), _SHARES_AT_ONCE):
                some = operations[start : start + _SHARES_AT_ONCE]
                if len(some) == 1 or not self._is_done_together(connection, do_all, some):
                    for operation, _ in some:
                        self._operate(connection, operation)
        shares.clear()

    def _is_done_together(
        self, connection: PlainConnection, do_all: _DoAll, operations: Sequence[tuple[Operation[Any], Any]]
    ) -> bool:
        wishes = [wish for _, wish in operations]
        results, error = self._attempt(connection, lambda connection: do_all(connection, wishes))
        if results is None or error is not None:
            return False
        for (operation, _), result in zip(operations, results, strict=True):
            is_error = isinstance(result, Exception)
            operation.keep(None if is_error else result, result if is_error else None)
        return True

    def _operate(self, connection: PlainConnection, operation: Operation[Any]) -> None:
        assert operation.act is not None
        operation.keep(*self._attempt(connection, operation.act))

    def _attempt(
        self, connection: PlainConnection, act: Callable[[PlainConnection], T]
    ) -> tuple[T | None, Exception | None]:
        """Return the result of `act`, or the error for which all that it did was undone."""
        savepoint, said = connection.savepoint(), _said(connection)
        try:
            result = act(connection)
            savepoint.commit()
        except Exception as error:
            if self.is_transient(error):
                raise
            savepoint.rollback()
            _unsay(connection, said)
            return None, error
        return result, None

    def is_transient(self, error: Exception) -> bool:
        """Say whether the same transaction may succeed a little later."""
        return isinstance(error, self._database.errors) and self._database.dialect.is_transient(error)

    def fault(self, segments: list[Segment], error: BaseException) -> RecordsNotDurable:
        """Return the error that says what is not on disk, and what to do about it."""
        advice: list[str] = []
        if isinstance(error, self._database.errors):
            advice.append(self._database.unavailable(error).advice)
        fault = not_durable(segments, f"{cause_of(error)} (in {self._database.where})", *advice)
        # Not SQLAlchemy's own error: it quotes the statement, which can have a thousand rows. And not the frames of the
        # driver's: they are always the same.
        cause: BaseException = getattr(error, "orig", None) or error
        fault.__cause__ = cause.with_traceback(None) if isinstance(error, self._database.errors) else cause
        return fault

    def _enter_process(self, connection: PlainConnection) -> Lease:
        if not self.has_entered:
            leases.enter_process(connection, self._owner, datetime.now(UTC))
            self.has_entered = True
        return Lease(self._owner.id, 1)


def _note(refused: _Refusals, projection: Projection) -> list[LeaseLost]:
    """Take nothing more from the sources that were refused; return the leases that were lost."""
    lost: list[LeaseLost] = []
    for source, fault in refused:
        if source.fault is not None:
            continue
        source.fault = fault
        if isinstance(fault, LeaseLost):
            lost.append(fault)
        else:
            _logger.error("%s", fault)
        if source.lease is not None:
            projection.forget({source.lease.flow_run_id})
    return lost


def _said(connection: PlainConnection) -> int:
    return 0 if connection.happenings is None else len(connection.happenings.noted)


def _unsay(connection: PlainConnection, said: int) -> None:
    """Forget what was noted in a part of the transaction that was undone."""
    if connection.happenings is not None:
        del connection.happenings.noted[said:]


def _lost(group: Group) -> LeaseLost:
    lease = group.source.lease
    return LeaseLost(str(lease.flow_run_id) if lease is not None else "(tasks outside of a flow)")
