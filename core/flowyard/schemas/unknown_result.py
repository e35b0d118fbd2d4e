"""The result of a run that was declared Completed by somebody who does not have its value."""

from __future__ import annotations

from typing import Any, NoReturn

from flowyard.exceptions import MissingResult


class UnknownResult:
    """A `ResultHandle` without a value: a later retry sees that the run is done and does not repeat it."""

    __slots__ = ()

    def get(self) -> NoReturn:
        """Raise `MissingResult`: nobody recorded the value."""
        raise MissingResult(
            "the run was marked Completed by force, so its value is not known; run it again to have a value"
        )

    def to_record(self) -> dict[str, Any]:
        """Return what the state backend stores."""
        return {"type": "unknown"}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnknownResult)

    def __hash__(self) -> int:
        return hash(UnknownResult)
