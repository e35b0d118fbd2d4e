"""The value of a run as another process finds it: by what was recorded about it."""

from __future__ import annotations

import importlib
from typing import Any


class RecordedResult:
    """A `ResultHandle` made from a record. `get` reads the value from result storage, if it was persisted."""

    __slots__ = ("record",)

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def get(self) -> Any:
        """Return the value.

        Raises:
            MissingResult: it was not persisted, or its file is gone or damaged.
        """
        # By name: results stand above records, and who only looks at states needs none of them.
        return importlib.import_module("flowyard.results.records").recorded_value(self.record)

    def to_record(self) -> dict[str, Any]:
        """Return the record as it was stored."""
        return self.record

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RecordedResult) and other.record == self.record

    def __hash__(self) -> int:
        return hash(repr(self.record))

    def __repr__(self) -> str:
        return f"RecordedResult({self.record!r})"
