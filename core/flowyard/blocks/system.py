"""Blocks for single values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from pydantic import ConfigDict, SecretStr, field_validator

from flowyard.blocks.core import Block


class JSON(Block):
    """A value that JSON can carry.

    Example:
        from flowyard.blocks.system import JSON

        JSON(value={"regions": ["eu", "us"]}).save("regions")
        regions = JSON.load("regions").value
    """

    _is_protected: ClassVar[bool] = True

    value: Any
    """Anything that JSON can say."""


class String(Block):
    """A text.

    Example:
        from flowyard.blocks.system import String

        String(value="hello").save("greeting")
        greeting = String.load("greeting").value
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    _is_protected: ClassVar[bool] = True

    value: str


class DateTime(Block):
    """A moment; one without a time zone is in UTC.

    Example:
        from flowyard.blocks.system import DateTime

        DateTime(value="2026-01-01T00:00:00Z").save("begin")
        begin = DateTime.load("begin").value
    """

    _block_type_name: ClassVar[str | None] = "Date Time"
    _is_protected: ClassVar[bool] = True

    value: datetime

    @field_validator("value")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


class Secret(Block):
    """A text that is encrypted where it is kept, and shown nowhere.

    Example:
        from flowyard.blocks.system import Secret

        Secret(value="s3cr3t").save("database-password")
        password = Secret.load("database-password").get()
    """

    model_config = ConfigDict(coerce_numbers_to_str=True)

    _is_protected: ClassVar[bool] = True

    value: SecretStr

    def get(self) -> str:
        """Return the text."""
        return self.value.get_secret_value()
