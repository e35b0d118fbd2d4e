"""What a variable may be."""

from __future__ import annotations

import json
import math
import re
from typing import Any, cast

LONGEST_NAME = 255
LONGEST_VALUE = 5000
_NAME = re.compile(r"[a-z0-9_]+")


def check_variable_name(name: object) -> str:
    """Return a name that a variable can have.

    Raises:
        TypeError: it is no string.
        ValueError: it has other characters than lowercase letters, digits and underscores, or too many.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a variable is a string, not {name!r}")
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot be the name of a variable: use lowercase letters, digits and underscores, at least one"
        )
    if len(name) > LONGEST_NAME:
        raise ValueError(f"the name {name[:20]!r}... of a variable has {len(name)} characters; {LONGEST_NAME} fit")
    return name


def check_variable_value(name: str, value: Any) -> Any:
    """Return a value that a variable can have, tuples as lists: anything that JSON can say, in 5,000 characters.

    Raises:
        TypeError: JSON has no word for it; names the place.
        ValueError: it is too long, is not a number, or contains itself.
    """
    what = f"the value of variable {name!r}"
    plain = _plain(value, what)
    length = len(plain) if isinstance(plain, str) else len(json.dumps(plain, ensure_ascii=False))
    if length > LONGEST_VALUE:
        raise ValueError(
            f"{what} has {length} characters, and {LONGEST_VALUE} fit; keep it in a block or in result storage, and a "
            "reference to it here"
        )
    return plain


def check_variable_tags(name: str, tags: object) -> list[str]:
    """Return the tags of a variable as a list, each once.

    Raises:
        TypeError: they are not a sequence of strings.
    """
    if not isinstance(tags, (list, tuple, set, frozenset)):
        raise TypeError(f"the tags of variable {name!r} are a list of strings, not {tags!r}")
    found = list(cast("tuple[object, ...]", tags))
    for tag in found:
        if not isinstance(tag, str):
            raise TypeError(f"a tag of variable {name!r} is a string, not {tag!r}")
    return cast("list[str]", list(dict.fromkeys(found)))


def _plain(value: Any, what: str, depth: int = 0) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if depth > LONGEST_VALUE:
        raise ValueError(f"{what} contains itself; break the circle")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{what} is {value!r}, which JSON cannot say; use None or a string")
        return value
    if isinstance(value, (list, tuple)):
        items = cast("list[Any]", value)
        return [_plain(item, f"{what}[{number}]", depth + 1) for number, item in enumerate(items)]
    if isinstance(value, dict):
        found: dict[str, Any] = {}
        for key, item in cast("dict[Any, Any]", value).items():
            if not isinstance(key, str):
                raise TypeError(f"{what} has the key {key!r}; keys are strings")
            found[key] = _plain(item, f"{what}[{key!r}]", depth + 1)
        return found
    raise TypeError(
        f"{what} is {value!r}, a {type(value).__name__}; a variable holds what JSON can say: strings, numbers, "
        "booleans, None, lists and dicts of these"
    )
