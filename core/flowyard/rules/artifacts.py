"""What an artifact may be."""

from __future__ import annotations

import re
from collections.abc import Mapping

LONGEST_METADATA = 500
_KEY = re.compile(r"[a-z0-9-]+")


def check_artifact_key(key: object) -> str | None:
    """Return a key that an artifact can have; None is for one without.

    Raises:
        TypeError: it is no string.
        ValueError: it has other characters than lowercase letters, digits and dashes.
    """
    if key is None:
        return None
    if not isinstance(key, str):
        raise TypeError(f"the key of an artifact is a string, not {key!r}")
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} cannot be the key of an artifact: use lowercase letters, digits and dashes")
    return key


def shortened_metadata(metadata: Mapping[str, object] | None) -> dict[str, str] | None:
    """Return metadata with values as text, each cut to 500 characters."""
    if metadata is None:
        return None
    return {key: _shortened(str(value)) for key, value in metadata.items()}


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_METADATA else f"{text[:LONGEST_METADATA]}..."
