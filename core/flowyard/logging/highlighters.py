"""Colours of console lines, for terminals only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

RESET = "\x1b[0m"

_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_CODES: Mapping[str, str] = MappingProxyType(
    {
        "bold": "1",
        "dim": "2",
        "italic": "3",
        "underline": "4",
        **{name: str(30 + code) for code, name in enumerate(_COLOURS)},
        **{f"bright_{name}": str(90 + code) for code, name in enumerate(_COLOURS)},
        "orange3": "38;5;172",
        "red3": "38;5;160",
        "yellow3": "38;5;184",
    }
)

DEFAULT_STYLES: Mapping[str, str] = MappingProxyType(
    {
        "log.web_url": "bright_blue",
        "log.local_url": "bright_blue",
        "log.debug_level": "blue",
        "log.info_level": "cyan",
        "log.warning_level": "yellow3",
        "log.error_level": "red3",
        "log.critical_level": "bright_red",
        "log.completed_state": "green",
        "log.cancelled_state": "yellow3",
        "log.failed_state": "red3",
        "log.crashed_state": "bright_red",
        "log.flow_run_name": "magenta",
        "log.task_run_name": "magenta",
        "log.flow_name": "bold magenta",
    }
)

_PATTERN = re.compile(
    r"""
      (?P<web_url>https?://[^\s'")]+)
    | (?P<local_url>file://[^\s'")]+)
    | \|\ (?:(?P<debug_level>DEBUG)|(?P<info_level>INFO)|(?P<warning_level>WARNING)
            |(?P<error_level>ERROR)|(?P<critical_level>CRITICAL))(?=\ *\|)
    | (?P<completed_state>\bCompleted\b) | (?P<cancelled_state>\bCancelled\b)
    | (?P<failed_state>\bFailed\b)       | (?P<crashed_state>\bCrashed\b)
    | (?:\b[Ff]low\ run\ )(?P<flow_run_name>'[^']*')
    | (?:\b[Tt]ask\ run\ )(?P<task_run_name>'[^']*')
    | (?:\bflow\ )(?P<flow_name>'[^']*')
    """,
    re.VERBOSE,
)


def style_code(name: str, style: str) -> str:
    """Return the terminal's code for a style such as `bold red`.

    Raises:
        ValueError: a word of it is not known.
    """
    codes: list[str] = []
    for word in style.split():
        if word not in _CODES:
            raise ValueError(f"style {style!r} of {name!r}: {word!r} is unknown; use some of {', '.join(_CODES)}")
        codes.append(_CODES[word])
    return f"\x1b[{';'.join(codes)}m" if codes else ""


class FlowyardConsoleHighlighter:
    """Colours addresses, levels, final states and the names of runs in a line.

    `styles` maps `log.info_level` and the like (see `DEFAULT_STYLES`) to words such as `bold red`.
    """

    def __init__(self, styles: Mapping[str, str] | None = None) -> None:
        wanted = {**DEFAULT_STYLES, **(styles or {})}
        self._codes = {name.removeprefix("log."): style_code(name, style) for name, style in wanted.items()}

    def highlight(self, line: str) -> str:
        """Return the line with colours."""
        return _PATTERN.sub(self._paint, line)

    def _paint(self, match: re.Match[str]) -> str:
        kind = match.lastgroup or ""
        code = self._codes.get(kind)
        if not code:
            return match.group()
        whole, start = match.group(), match.start()
        begin, end = match.start(kind) - start, match.end(kind) - start
        return f"{whole[:begin]}{code}{whole[begin:end]}{RESET}{whole[end:]}"


PrefectConsoleHighlighter = FlowyardConsoleHighlighter
