"""What the routes do with the database: reads on connections of their own, changes through the one writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.engine import Connection

from flowyard.local.backend import LocalBackend
from flowyard.local.reading import Reader
from flowyard.ports import ControlPlane
from flowyard.settings import Settings
from flowyard.store.dialects import Dialect
from flowyard.store.plain import PlainConnection

T = TypeVar("T")


class Gateway:
    """The database of this server. Thread-safe; routes run in threads.

    Changes of many requests at once share a commit: each runs in a savepoint of the writer's transaction, and its
    answer leaves when that is on disk.
    """

    def __init__(self, backend: LocalBackend, settings: Settings) -> None:
        self._backend = backend
        self._read = Reader(backend.database, backend.journal)
        self.settings = settings

    @property
    def control(self) -> ControlPlane:
        """What the embedded backend offers too: blocks with their secrets, variables, artifacts, limits."""
        return self._backend.control

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
