"""What must not get into a log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from typing_extensions import override

from flowyard.settings import FLOWYARD_API_KEY, get_current_settings

HIDDEN = "********"


def redact_substr(obj: object, substr: str) -> Any:
    """Return `obj` with `substr` replaced by asterisks in every text inside of it."""
    if isinstance(obj, str):
        return obj.replace(substr, HIDDEN)
    if isinstance(obj, Mapping):
        mapping = cast("Mapping[Any, Any]", obj)
        return {redact_substr(key, substr): redact_substr(value, substr) for key, value in mapping.items()}
    if type(obj) in (list, tuple, set, frozenset):
        items = cast("list[Any]", obj)
        return type(items)(redact_substr(item, substr) for item in items)
    return obj


class ObfuscateApiKeyFilter(logging.Filter):
    """Replaces the API key of the settings in messages, wherever a record came from."""

    def __init__(self, name: str = "") -> None:
        super().__init__(name)
        self._key = FLOWYARD_API_KEY.value_from(get_current_settings())

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if self._key:
            # The key may be in an argument's `str`, whatever that is: the finished text is what is searched.
            message = record.getMessage()
            if self._key in message:
                record.msg = redact_substr(message, self._key)
                record.args = ()
        return True
