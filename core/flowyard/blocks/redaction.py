"""Validation errors that do not repeat what was given: it may be a password."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from flowyard.blocks.schema import secret_patterns
from flowyard.schemas.secrets import OBFUSCATED, leaves

_SHORTEST = 4
"""A shorter secret is not looked for in messages: it would be found in every second word."""


def redact(error: ValidationError, secrets: list[Any]) -> ValidationError:
    """Return an error with the same places and messages, without inputs, and without the secrets in its messages."""
    texts = {str(each) for each in secrets if len(str(each)) >= _SHORTEST}
    lines: list[InitErrorDetails] = []
    for line in error.errors(include_url=False, include_context=False, include_input=False):
        message = line["msg"]
        for text in sorted(texts, key=len, reverse=True):
            message = message.replace(text, OBFUSCATED)
        kind = PydanticCustomError(cast("Any", line["type"]), "{message}", {"message": message})
        lines.append(InitErrorDetails(type=kind, loc=line["loc"], input=OBFUSCATED))
    return ValidationError.from_exception_data(error.title, lines, hide_input=True)


def redact_for(model: type[BaseModel], error: ValidationError, value: object) -> ValidationError:
    """Return an error of a model's validation without what was given."""
    if not isinstance(value, Mapping):
        return redact(error, [])
    given = dict(cast("Mapping[str, Any]", value))
    found = leaves(given, list(secret_patterns(model)))
    return redact(
        error, [each.get_secret_value() if isinstance(each, (SecretStr, SecretBytes)) else each for each in found]
    )
