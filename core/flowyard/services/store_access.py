"""What services do with the database, whoever lends it to them: the server's gateway, or a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy.engine import Connection

from flowyard.store.dialects import Dialect
from flowyard.store.plain import PlainConnection

T = TypeVar("T")


class StoreAccess(Protocol):
    """Reads and durable changes."""

    @property
    def dialect(self) -> Dialect:
        """What is different from one database to another."""
        ...

    def read(self, query: Callable[[Connection], T]) -> T:
        """Return what a query returns; it sees one state of the database and must not write."""
        ...

    def change_plainly(self, act: Callable[[PlainConnection], T]) -> T:
        """Run `act` in a transaction; return what it returns when that is on disk. It may be called more than once."""
        ...
