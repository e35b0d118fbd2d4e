"""How the control planes of this process read: on connections of their own, after what was said before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from flowyard.exceptions import RecordsNotDurable
from flowyard.journal.sql import SqlJournal
from flowyard.store.database import Database
from flowyard.store.plain import PlainConnection
from flowyard.store.refusals import refusal_of

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

T = TypeVar("T")
_logger = logging.getLogger("flowyard.local")


class Reader:
    """Runs queries; each sees everything that this process recorded before it."""

    def __init__(self, database: Database, journal: SqlJournal) -> None:
        self._database = database
        self._journal = journal

    def __call__(self, query: Callable[[Connection], T], *, is_barrier: bool = True) -> T:
        """Return what a query returns.

        Args:
            query: what to do with the connection; it must not write.
            is_barrier: wait until everything recorded before is on disk.

        Raises:
            BackendUnavailable: the database cannot be read; says why.
            ValueNotStorable: the query has a value that the database cannot take.
        """
        if self._database.is_in_memory:  # one connection for all, and it is the writer's
            return self._journal.execute(query)
        if is_barrier:
            self._wait()
        with self._explaining(), self._database.reading() as connection:
            return query(connection)

    @contextmanager
    def _explaining(self) -> Generator[None]:
        """Raise what says more in the place of an error of the driver."""
        try:
            yield
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is not None:
                raise refusal from error
            if isinstance(error, self._database.errors):
                raise self._database.unavailable(error) from error
            raise

    def _wait(self) -> None:
        # A server records nothing itself: its reads need not wait for the changes of other requests.
        if not self._journal.is_recording:
            return
        try:
            self._journal.barrier()
        except RecordsNotDurable as error:
            # What was committed can be read, and it is what somebody who looks for the cause needs now.
            _logger.warning("reading without the newest records: %s", error)

    def plainly(self, query: Callable[[PlainConnection], T], *, is_barrier: bool = False) -> T:
        """Return what a query in SQL text returns.

        Args:
            query: what to do with the connection; it must not write.
            is_barrier: wait until everything recorded before is on disk.

        Raises:
            BackendUnavailable: the database cannot be read; says why.
            ValueNotStorable: the query has a value that the database cannot take.
        """
        if self._database.is_in_memory:
            return self._journal.perform(query)
        if is_barrier:
            self._wait()
        with self._explaining(), self._database.plain_reading() as connection:
            return query(connection)
