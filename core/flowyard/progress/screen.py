"""Draws a tally at the bottom of a terminal with rich. Only imported when something is drawn."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import TextIO

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from flowyard.progress.streams import HeldText, Streams
from flowyard.progress.tally import Tally, TaskTally
from flowyard.schemas.states import StateType

STYLES: dict[StateType, str] = {
    StateType.COMPLETED: "green",
    StateType.FAILED: "red",
    StateType.CRASHED: "bright_red",
    StateType.CANCELLED: "yellow",
    StateType.CANCELLING: "yellow",
    StateType.RUNNING: "cyan",
    StateType.SCHEDULED: "magenta",
    StateType.PAUSED: "magenta",
    StateType.PENDING: "dim",
}


class _Console(Console):
    @override
    def show_cursor(self, show: bool = True) -> bool:
        # A hidden cursor would stay hidden in the user's terminal after `kill -9`.
        return False


class _Verbatim:
    """Text for the terminal as it is, colours included."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._text)


class Screen:
    """The drawing of one view, and the text that scrolls above it."""

    def __init__(self, stream: TextIO, *, width: int | None = None, height: int | None = None) -> None:
        self._console = _Console(file=stream, force_terminal=True, width=width, height=height, soft_wrap=True)
        self._stream = stream
        # Not the loggers' lock nor rich's: `draw` is called by the drawing thread and by writers with too much to say.
        self._lock = threading.RLock()
        self._is_closed = False
        self._held = HeldText(self._write_held)
        self._streams = Streams(self._held)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def open(self) -> None:
        """Begin to draw: from now on, what is written to the terminal goes above the drawing."""
        self._live.start()
        self._streams.replace()

    def draw(self, tally: Tally, now: float) -> None:
        """Write the text that came in since the last time, and the tally below it."""
        with self._lock:
            if self._is_closed:
                return
            lines, partial = self._held.take()
            table = render(tally, now, self._console.size.height - 2)
            self._live.update(Group(Text(partial), table) if partial else table)
            if lines:
                self._console.print(_Verbatim(lines), end="", soft_wrap=True)
            else:
                self._live.refresh()

    def _write_held(self) -> None:
        """Write the text that is held above the drawing as it was: for a writer that has too much to say."""
        with self._lock:
            if not self._is_closed:
                lines, _ = self._held.take()
                self._console.print(_Verbatim(lines), end="", soft_wrap=True)

    def close(self, tally: Tally, now: float) -> None:
        """Draw for the last time, leave that on the terminal, and let writers write straight to it again."""
        self._streams.restore()
        with self._lock:
            try:
                self.draw(tally, now)
            finally:
                self._is_closed = True
                self._live.stop()
                rest = self._held.take_all()
                if rest:
                    self._stream.write(rest)
                self._stream.flush()


def render(tally: Tally, now: float, max_rows: int) -> Table:
    """Return one line for each task: name, bar, count, states, rate, time left."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=30)
    table.add_column(width=20)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    shown, hidden = _choose(list(tally.tasks.values()), max(1, max_rows))
    for task in shown:
        rate, left = task.rate(now), task.seconds_left(now)
        table.add_row(
            Text(task.task_name),
            ProgressBar(total=max(1, task.total), completed=task.finished, width=20),
            f"{task.finished:,}/{task.total:,}",
            _states(task),
            f"{_number(rate)}/s" if rate is not None else "",
            _duration(left) if left is not None and not task.is_finished else "",
        )
    if hidden:
        table.add_row(Text(f"and {hidden:,} more tasks", style="dim"))
    return table


def _choose(tasks: list[TaskTally], max_rows: int) -> tuple[list[TaskTally], int]:
    """Return what fits, unfinished tasks before finished ones, and how many do not."""
    if len(tasks) <= max_rows:
        return tasks, 0
    unfinished_first = sorted(tasks, key=lambda task: task.is_finished)
    kept = {id(task) for task in unfinished_first[: max(1, max_rows - 1)]}
    return [task for task in tasks if id(task) in kept], len(tasks) - len(kept)


def _states(task: TaskTally) -> Text:
    parts: Iterable[Text] = (
        Text(f"{name} {count:,}", style=STYLES[kind]) for name, (kind, count) in task.by_state.items() if count > 0
    )
    return Text(" ").join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
