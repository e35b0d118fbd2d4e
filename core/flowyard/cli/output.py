"""What commands write: tables for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import typer

from flowyard.cli.invocation import Invocation
from flowyard.schemas.states import State

T = TypeVar("T")

STATE_COLOURS = {
    "SCHEDULED": "yellow",
    "PENDING": "bright_black",
    "RUNNING": "blue",
    "COMPLETED": "green",
    "FAILED": "red",
    "CANCELLED": "bright_black",
    "CRASHED": "dark_orange3",
    "PAUSED": "bright_black",
    "CANCELLING": "bright_black",
}


def write_json(value: object) -> None:
    """Write a value as JSON to stdout."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    # Escapes where the terminal's encoding, or a lone surrogate in a message, makes them necessary.
    typer.echo(text if _printable(text) == text else json.dumps(value, indent=2, allow_nan=False))


def say(run: Invocation, text: str, *, colour: str | None = None) -> None:
    """Write a line for people: to stdout, or to stderr when stdout is for JSON alone."""
    text = _printable(text)
    typer.echo(typer.style(text, fg=colour) if colour and has_colours(run) else text, err=run.is_json)


def _printable(text: str) -> str:
    """Return text with escapes for what the terminal's encoding does not have."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def has_colours(run: Invocation) -> bool:
    """Say whether output may be coloured; typer takes colours away again where there is no terminal."""
    return not os.environ.get("NO_COLOR") and run.settings_or_defaults().FLOWYARD_CLI_COLORS


_KEPT_WHOLE = frozenset({"State", "When", "Created"})


@dataclass(frozen=True, slots=True)
class Cell:
    """Text in a table, with a rich style."""

    text: str
    style: str = ""


def write_table(run: Invocation, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]]) -> None:
    """Write a table that fits the terminal: cells are wrapped, never cut.

    The first column, states and times are kept whole; what people named themselves is wrapped if it must be.
    """
    from rich import box  # noqa: PLC0415  50 ms that JSON and messages do not need
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    must_wrap = run.settings_or_defaults().FLOWYARD_CLI_WRAP_LINES
    console = Console(
        file=sys.stdout, no_color=not has_colours(run), width=None if must_wrap else 100_000, highlight=False
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for index, column in enumerate(columns):
        is_whole = index == 0 or column in _KEPT_WHOLE or not must_wrap
        table.add_column(column, no_wrap=is_whole, overflow="fold")
    for row in rows:
        cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
        table.add_row(*(Text(_printable(cell.text), style=cell.style) for cell in cells))
    console.print(table)


def write_list(
    run: Invocation,
    found: Sequence[T],
    record: Callable[[T], object],
    columns: Mapping[str, Callable[[T], str | Cell]],
    *,
    empty: str,
) -> None:
    """Write what was found, one on a line or as JSON; or say with `empty` how there could be some."""
    if run.is_json:
        write_json([record(each) for each in found])
    elif not found:
        say(run, empty)
    else:
        write_table(run, list(columns), [[cell(each) for cell in columns.values()] for each in found])


def state_cell(state: State[Any] | None) -> Cell:
    """Return the name of a state in its colour."""
    return Cell(state.name, STATE_COLOURS[state.type.value]) if state else Cell("")


_UNITS = (
    ("year", 31_536_000),
    ("month", 2_592_000),
    ("w", 604_800),
    ("d", 86_400),
    ("h", 3600),
    ("min", 60),
)


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago (or from now) something is: `3 min ago`, `in 2 d`."""
    if moment is None:
        return ""
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    size = abs(seconds)
    unit, length = next(((unit, length) for unit, length in _UNITS if size >= length), ("s", 1))
    text = f"{int(size // length)} {unit}"
    return f"in {text}" if seconds < 0 else f"{text} ago"


def when(state: State[Any] | None, now: datetime | None = None) -> str:
    """Return when a state began, or when a scheduled run is due."""
    if state is None:
        return ""
    return ago(state.state_details.scheduled_time if state.is_scheduled() else state.timestamp, now)


def local_time(moment: datetime | None) -> str:
    """Return a time as console log lines have it: local, in milliseconds."""
    return moment.astimezone().isoformat(" ", "milliseconds")[:23] if moment else ""
