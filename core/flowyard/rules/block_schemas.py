"""How the schemas of blocks are told apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any, cast


def checksum_of(fields: Mapping[str, Any], referenced_titles: Collection[str] = ()) -> str:
    """Return the checksum of a schema: of everything but which fields are secret and what other blocks are.

    Args:
        fields: a JSON schema, with what blocks add to it.
        referenced_titles: definitions that describe other blocks, besides those that say so by `block_type_slug`.
    """
    counted = cast("dict[str, Any]", _without_secret_fields(dict(fields)))
    definitions = {
        name: each
        for name, each in cast("dict[str, Any]", counted.pop("definitions", None) or {}).items()
        if name not in referenced_titles and not _is_block(each)
    }
    if definitions:
        counted["definitions"] = definitions
    # The form that clients of Prefect 2 hash: the arguments of a call, positional ones and named ones.
    text = json.dumps([[counted], {}], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _is_block(definition: Any) -> bool:
    return isinstance(definition, dict) and "block_type_slug" in definition


def _without_secret_fields(value: Any) -> Any:
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: _without_secret_fields(item) for key, item in items if key != "secret_fields"}
    if isinstance(value, list):
        return [_without_secret_fields(item) for item in cast("list[Any]", value)]
    return value
