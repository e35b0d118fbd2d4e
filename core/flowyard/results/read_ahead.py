"""Results whose bytes were read with those of many others: opening a file for each takes longer than all the rest."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from flowyard.results.reading import read_value
from flowyard.schemas.recorded_result import RecordedResult
from flowyard.settings import get_current_settings

MOST_BYTES = 32 * 1024 * 1024
"""How many bytes one resume reads ahead, at most."""


class ReadAheadResult(RecordedResult):
    """A `RecordedResult` that has the bytes of its value, for the first who asks for it."""

    __slots__ = ("_content",)

    def __init__(self, record: dict[str, Any], content: bytes) -> None:
        super().__init__(record)
        self._content: bytes | None = content

    @override
    def get(self) -> Any:
        content, self._content = self._content, None
        if content is None:
            return super().get()
        key = get_current_settings().FLOWYARD_RESULTS_SIGNING_KEY
        return read_value(content, self.record["storage_key"], key)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        return RecordedResult, (self.record,)
