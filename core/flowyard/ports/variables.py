"""Variables, as the SDK, the server and the CLI need them."""

from __future__ import annotations

from typing import Any, Protocol

from flowyard.schemas.variables import VariableRecord


class VariableStore(Protocol):
    """Small named values. Every change is durable at return."""

    def create(self, record: VariableRecord) -> VariableRecord:
        """Store a new variable.

        Raises:
            ObjectAlreadyExists: there is one of that name.
            TypeError, ValueError: its name, value or tags cannot be; says why.
        """
        ...

    def put(self, record: VariableRecord, *, keep_tags: bool = False) -> VariableRecord:
        """Store a variable in place of the one of that name, if there is one; that keeps its id.

        With `keep_tags` it keeps its tags too.

        Raises:
            TypeError, ValueError: its name, value or tags cannot be; says why.
        """
        ...

    def find(self, name: str) -> VariableRecord | None:
        """Return a variable, or None if there is none of that name."""
        ...

    def read(self, name: str) -> VariableRecord:
        """Return a variable.

        Raises:
            ObjectNotFound: there is none of that name.
        """
        ...

    def read_many(self, *, limit: int = 200, offset: int = 0) -> list[VariableRecord]:
        """Return variables in the order of their names."""
        ...

    def update(self, name: str, /, **changes: Any) -> VariableRecord:
        """Change `name`, `value` or `tags` of a variable.

        Raises:
            ObjectNotFound: there is none of that name.
            ObjectAlreadyExists: there is one of the new name.
            TypeError, ValueError: an attribute does not exist, or its value cannot be.
        """
        ...

    def delete(self, name: str) -> None:
        """Delete a variable.

        Raises:
            ObjectNotFound: there is none of that name.
        """
        ...
