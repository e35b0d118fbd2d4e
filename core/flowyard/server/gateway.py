"""What the routes do with the database: reads on connections of their own, changes through the one writer."""

from __future__ import annotations

from asyncio import get_running_loop
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar, cast

from sqlalchemy.engine import Connection

from flowyard.journal.awaited import Answers, Awaited
from flowyard.journal.batches import Share
from flowyard.journal.emission import Emission
from flowyard.journal.reported import ReportedBatch, write_reported
from flowyard.journal.slot_waiters import SlotWaiters
from flowyard.local.backend import LocalBackend
from flowyard.local.guests import GuestControlPlane
from flowyard.local.reading import Reader
from flowyard.ports import ControlPlane
from flowyard.server.bell import Bell
from flowyard.services.lease_keeper import LEASE_SECONDS
from flowyard.settings import Settings
from flowyard.store import leases
from flowyard.store.block_documents import Cipher
from flowyard.store.dialects import Dialect
from flowyard.store.leases import Advance, Owner
from flowyard.store.plain import PlainConnection
from flowyard.store.refusals import refusal_of

if TYPE_CHECKING:
    from flowyard.local.blocks import LocalBlocks

T = TypeVar("T")
W = TypeVar("W")


class Gateway:
    """The database of this server. Thread-safe; routes run in threads.

    Changes of many requests at once share a commit: each runs in a savepoint of the writer's transaction, and its
    answer leaves when that is on disk.
    """

    def __init__(self, backend: LocalBackend, settings: Settings) -> None:
        self._backend = backend
        self._read = Reader(backend.database, backend.journal)
        self.settings = settings
        self._answers: Answers | None = None
        self.news = Bell()
        """Rings when something was stored here that others stream."""
        if settings.FLOWYARD_API_SERVICES_EVENT_PERSISTER_ENABLED:
            task_runs = settings.FLOWYARD_EVENTS_TASK_RUNS
            backend.journal.emit_events(Emission(self.dialect, task_runs, on_stored=self.news.ring))

    @property
    def control(self) -> ControlPlane:
        """What the embedded backend offers too: blocks with their secrets, variables, artifacts, limits."""
        return self._backend.control

    def control_of(self, owner: Owner) -> GuestControlPlane:
        """Return the control plane for a process that reports here."""
        return self._backend.guests.control_of(owner)

    def take(self, owner: Owner, batches: Sequence[ReportedBatch]) -> list[Advance]:
        """Write batches of the journal of a process that reports here; see `write_reported`."""
        return write_reported(self._backend.journal, owner, batches)

    def give_time(self) -> None:
        """Let every lease last as long as a new one: for the start of a server."""
        expires = datetime.now(UTC) + timedelta(seconds=LEASE_SECONDS)
        self.change_plainly(lambda connection: leases.renew_all(connection, expires))

    def is_unavailable(self, error: Exception) -> bool:
        """Say whether an error of the database is a passing one."""
        return self._is_of_database(error) and self.dialect.is_transient(error)

    def is_broken(self, error: BaseException | None) -> bool:
        """Say whether an error of the database stays: a table that is missing, a statement that is wrong, a file."""
        return error is not None and self._is_of_database(error) and not self.dialect.is_transient(error)

    def _is_of_database(self, error: BaseException) -> bool:
        return isinstance(error, self._backend.database.errors)

    @property
    def slot_waiters(self) -> SlotWaiters:
        """What wakes the requests for slots of concurrency limits that wait."""
        return self._backend.journal.slot_waiters

    @property
    def cipher(self) -> Cipher:
        """What encrypts the secrets of blocks."""
        return cast("LocalBlocks", self._backend.control.blocks).vault

    @property
    def dialect(self) -> Dialect:
        """What is different from one database to another."""
        return self._backend.database.dialect

    def read(self, query: Callable[[Connection], T]) -> T:
        """Return what a query returns; it sees one state of the database and must not write."""
        return self._read(query)

    def change(self, act: Callable[[Connection], T]) -> T:
        """Run `act` in the writer's transaction; return what it returns when that is on disk.

        What it raises is raised here, and what it wrote is undone. It may be called more than once.
        """
        return self._backend.journal.execute(act)

    def change_plainly(self, act: Callable[[PlainConnection], T]) -> T:
        """Do what `change` does, for functions of the store that take SQL text."""
        return self._backend.journal.perform(act)

    async def change_soon(self, act: Callable[[PlainConnection], T]) -> T:
        """Do what `change_plainly` does without a thread: a hop to one and back takes longer than most changes."""
        loop = get_running_loop()
        if self._answers is None or self._answers.loop is not loop:
            self._answers = Answers(loop)
        operation = Awaited(act, self._answers)
        self._backend.journal.enqueue(operation)
        try:
            return await operation.future
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            raise refusal from error

    async def change_together(
        self, do_all: Callable[[PlainConnection, Sequence[W]], Sequence[T | Exception]], wish: W
    ) -> T:
        """Do what `change_soon` does, at once for all requests that want the same at the same time; see `Share`."""
        return await self.change_soon(Share(do_all, wish))
