"""Variables: small named values that flows, tasks and scripts share through the state backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from flowyard.duality import dual
from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.process.control import control_plane
from flowyard.schemas.variables import VariableRecord

__all__ = ["Variable", "get"]


@dataclass(slots=True)
class Variable:
    """A named value. Not encrypted: keep secrets in blocks.

    `get`, `set` and `unset` block in sync code and are awaited in async code; `_sync=True` makes them block anywhere.
    """

    name: str
    """Lowercase letters, digits and underscores, 255 at most."""
    value: Any
    """Anything that JSON can say, in 5,000 characters."""
    tags: list[str] = field(default_factory=list[str])

    @classmethod
    @dual
    def get(cls, name: str, default: Any = None) -> Any:
        """Return the variable of that name, or `default` if there is none."""
        found = control_plane().variables.find(name)
        return default if found is None else cls(found.name, found.value, found.tags)

    @classmethod
    @dual
    def set(cls, name: str, value: Any, tags: Sequence[str] | None = None, overwrite: bool = False) -> Any:
        """Store a variable and return it.

        Args:
            name: lowercase letters, digits and underscores.
            value: anything that JSON can say.
            tags: None keeps those of the variable that is overwritten.
            overwrite: replace the variable of that name, if there is one.

        Raises:
            ValueError: there is one of that name and it must not be overwritten, or the name or value cannot be.
            TypeError: JSON has no word for the value; names the place. The tags are one string, not several.
        """
        if isinstance(tags, str):
            raise TypeError(f"tags={tags!r} of variable {name!r} is one string; pass a list of them: [{tags!r}]")
        record = VariableRecord(name, value, list(tags or ()))
        store = control_plane().variables
        try:
            stored = store.put(record, keep_tags=tags is None) if overwrite else store.create(record)
        except ObjectAlreadyExists:
            raise ValueError(
                f"variable {name!r} exists already; to replace its value pass `overwrite=True` to `Variable.set`"
            ) from None
        return cls(stored.name, stored.value, stored.tags)

    @classmethod
    @dual
    def unset(cls, name: str) -> Any:
        """Delete a variable; False if there was none of that name."""
        try:
            control_plane().variables.delete(name)
        except ObjectNotFound:
            return False
        return True


@dual
def get(name: str, default: Any = None) -> Any:
    """Return the value of a variable, or `default` if there is none of that name."""
    found = cast("Variable | None", Variable.get(name, _sync=True))  # pyright: ignore[reportCallIssue]  see `dual`
    return default if found is None else found.value
