"""Which values of a block are secret, and what is shown in their place. Pure; used where blocks are made and kept.

A path is a tuple of keys; in a pattern `*` stands for one key or index, and `**` for everything from there on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast

from flowyard.schemas.blocks import referred_id

OBFUSCATED = "********"

Pattern = tuple[str, ...]


def patterns_of(fields: dict[str, Any], paths: Iterable[Sequence[str]] = ()) -> list[Pattern]:
    """Return the patterns of a schema's `secret_fields`, and those of the paths that a saver saw."""
    declared = cast("list[str]", fields.get("secret_fields") or [])
    return [*(tuple(text.split(".")) for text in declared), *(tuple(path) for path in paths)]


def obfuscate(value: Any, patterns: Sequence[Pattern]) -> Any:
    """Return a copy of JSON data in which every value that a pattern leads to is eight asterisks.

    What is secret and a container keeps its keys. References to other documents stay.
    """
    if not patterns:
        return value
    if any(not pattern or pattern[0] == "**" for pattern in patterns):
        return _mask(value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: obfuscate(item, _below(patterns, key)) for key, item in items}
    if isinstance(value, list):
        entries = cast("list[Any]", value)
        return [obfuscate(item, _below(patterns, str(index))) for index, item in enumerate(entries)]
    return value


def unmasked(value: Any, current: Any, patterns: Sequence[Pattern]) -> Any:
    """Return a copy of JSON data in which asterisks in the place of a secret are what `current` has there."""
    if not patterns:
        return value
    if value == OBFUSCATED and any(not pattern or pattern[0] == "**" for pattern in patterns):
        return value if current is None else current
    if isinstance(value, dict):
        there = cast("dict[str, Any]", current) if isinstance(current, dict) else {}
        items = cast("dict[str, Any]", value).items()
        return {key: unmasked(item, there.get(key), _within(patterns, key)) for key, item in items}
    if isinstance(value, list):
        old = cast("list[Any]", current) if isinstance(current, list) else []
        entries = cast("list[Any]", value)
        return [
            unmasked(item, old[index] if index < len(old) else None, _within(patterns, str(index)))
            for index, item in enumerate(entries)
        ]
    return value


def leaves(value: Any, patterns: Sequence[Pattern]) -> list[Any]:
    """Return the plain values that `obfuscate` would hide."""
    if not patterns:
        return []
    if any(not pattern or pattern[0] == "**" for pattern in patterns):
        patterns = [("**",)]
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return [leaf for key, item in items for leaf in leaves(item, _below(patterns, key))]
    if isinstance(value, list):
        entries = cast("list[Any]", value)
        return [leaf for index, item in enumerate(entries) for leaf in leaves(item, _below(patterns, str(index)))]
    return [value] if patterns == [("**",)] and value is not None else []


def covers(patterns: Sequence[Pattern], path: Sequence[str]) -> bool:
    """Say whether a pattern leads to a path, or to something that it is part of."""
    for key in path:
        if any(not pattern or pattern[0] == "**" for pattern in patterns):
            return True
        patterns = _below(patterns, key)
    return any(not pattern or pattern[0] == "**" for pattern in patterns)


def _below(patterns: Sequence[Pattern], key: str) -> list[Pattern]:
    found = [pattern[1:] for pattern in patterns if pattern and pattern[0] in (key, "*")]
    return [*found, ("**",)] if any(pattern and pattern[0] == "**" for pattern in patterns) else found


def _within(patterns: Sequence[Pattern], key: str) -> list[Pattern]:
    """Return the patterns below a key; all that is in a secret container is secret."""
    return [("**",)] if any(not pattern for pattern in patterns) else _below(patterns, key)


def _mask(value: Any) -> Any:
    if value is None or referred_id(value) is not None:
        return value
    if isinstance(value, dict):
        return {key: _mask(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_mask(item) for item in cast("list[Any]", value)]
    return OBFUSCATED
