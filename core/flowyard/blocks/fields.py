"""Types of fields for blocks."""

from __future__ import annotations

from typing import Any

from pydantic import Secret
from typing_extensions import override

from flowyard.schemas.secrets import OBFUSCATED


class SecretDict(Secret[dict[str, Any]]):
    """A dictionary whose values are secret; its keys can be seen."""

    @override
    def _display(self) -> str:
        return str(self.dict())

    def dict(self) -> dict[str, str]:
        """Return the keys, with asterisks for values; `get_secret_value` returns the values."""
        return dict.fromkeys(self.get_secret_value(), OBFUSCATED)
