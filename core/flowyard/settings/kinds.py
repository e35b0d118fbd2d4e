"""The types that settings have: how each is read from text, checked, and written as text again."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Generic, TypeVar, cast

T = TypeVar("T")

_TRUE = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE = frozenset({"0", "false", "f", "no", "n", "off"})
_CLOCK = r"(?:(?P<days>\d+)\s*(?:d|days?),?\s+)?(?P<hours>\d+):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2}(?:\.\d+)?)"


class Kind(Generic[T]):
    """A type of setting.

    A plain class: importing `dataclasses` takes longer than everything else in this package.
    """

    __slots__ = ("allowed", "parse", "render")

    def __init__(self, allowed: str, parse: Callable[[object], T], render: Callable[[T], str]) -> None:
        self.allowed = allowed
        """What may be written, as the end of the sentence "it must be ..."."""
        self.parse = parse
        """Raises ValueError or TypeError for what it does not take."""
        self.render = render
        """Makes the text that `parse` reads back as the same value."""


def _parse_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(word)


def _parse_int(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(value)
    return int(value)


def _parse_float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _parse_str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _parse_token(value: object) -> str:
    # A file or secret that a key comes from often ends with a line break.
    token = _parse_str(value).strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError(token)
    return token


def _parse_path(value: object) -> Path:
    if isinstance(value, str) and value:
        return Path(value).expanduser()
    if isinstance(value, Path):
        return value.expanduser()
    raise TypeError(value)


def _parse_duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        clock = re.fullmatch(_CLOCK, value.strip())
        if clock:
            return timedelta(**{unit: float(text) for unit, text in clock.groupdict("0").items()})
    return timedelta(seconds=_parse_float(value))


def _render_number(value: float) -> str:
    return repr(value)


BOOL = Kind("one of true, false, 1, 0, yes, no, on, off", _parse_bool, lambda value: str(value).lower())
INT = Kind("a whole number", _parse_int, str)
FLOAT = Kind("a number", _parse_float, _render_number)
STR = Kind("text", _parse_str, str)
TOKEN = Kind("text of ASCII characters, without spaces and line breaks", _parse_token, str)
PATH = Kind("the path of a file or folder", _parse_path, str)
DURATION = Kind(
    "a number of seconds, or `[D days, ]HH:MM:SS`",
    _parse_duration,
    lambda value: _render_number(value.total_seconds()),
)


def at_least(kind: Kind[T], low: float) -> Kind[T]:
    """Return a kind of number that refuses what is below `low`."""

    def parse(value: object) -> T:
        number = kind.parse(value)
        if cast("float", number) < low:
            raise ValueError(value)
        return number

    return Kind(f"{kind.allowed}, at least {low:g}", parse, kind.render)


def optional(kind: Kind[T]) -> Kind[T | None]:
    """Return a kind that also takes None, written as `none` or nothing."""

    def parse(value: object) -> T | None:
        if value is None or (isinstance(value, str) and value.strip().lower() in ("", "none", "null")):
            return None
        return kind.parse(value)

    def render(value: T | None) -> str:
        return "none" if value is None else kind.render(value)

    return Kind(f"{kind.allowed}, or none", parse, render)


def choice(*words: str) -> Kind[str]:
    """Return a kind that takes one of some words, upper or lower case."""

    def parse(value: object) -> str:
        for word in words:
            if isinstance(value, str) and value.strip().lower() == word.lower():
                return word
        raise ValueError(value)

    return Kind(f"one of {', '.join(words)}", parse, str)


def _items(value: object) -> list[object]:
    if isinstance(value, str):
        inner = value.strip().removeprefix("[").removesuffix("]")
        return [item.strip().strip("'\"") for item in inner.split(",") if item.strip()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return list(cast("Sequence[object]", value))
    raise TypeError(value)


def _parse_words(value: object) -> list[str]:
    return [_parse_str(item) for item in _items(value)]


def _parse_statuses(value: object) -> frozenset[int]:
    codes = frozenset(_parse_int(item) for item in _items(value))
    if any(not 100 <= code <= 599 for code in codes):
        raise ValueError(value)
    return codes


def _parse_delays(value: object) -> float | list[float]:
    if isinstance(value, (list, tuple)) or (isinstance(value, str) and ("," in value or "[" in value)):
        return [_parse_delay(item) for item in _items(cast("object", value))]
    return _parse_delay(value)


def _parse_delay(value: object) -> float:
    seconds = _parse_float(value)
    if seconds < 0:
        raise ValueError(value)
    return seconds


def _render_delays(value: float | list[float]) -> str:
    return ",".join(map(_render_number, value)) + "," * (len(value) == 1) if isinstance(value, list) else repr(value)


WORDS = Kind("words separated by commas", _parse_words, ",".join)
STATUSES = Kind(
    "HTTP status codes between 100 and 599, separated by commas",
    _parse_statuses,
    lambda codes: ",".join(map(str, sorted(codes))),
)
DELAYS = Kind("seconds, or several separated by commas", _parse_delays, _render_delays)
