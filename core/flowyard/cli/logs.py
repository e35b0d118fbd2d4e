"""`logs` of flow runs and task runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Annotated, Any
from uuid import UUID

import typer

from flowyard.cli.invocation import CommandFailed, Invocation
from flowyard.cli.output import local_time, say, write_json
from flowyard.cli.records import log_record
from flowyard.ports import ControlPlane
from flowyard.schemas.events import LogEmitted
from flowyard.schemas.filters import LogFilter, TaskRunFilter

Head = Annotated[bool, typer.Option("--head", "-h", help="Only the first 20 lines, or as many as --num-logs says.")]
Tail = Annotated[bool, typer.Option("--tail", "-t", help="Only the last 20 lines, or as many as --num-logs says.")]
Number = Annotated[int | None, typer.Option("--num-logs", "-n", min=1, help="Lines at most.")]
Reverse = Annotated[bool, typer.Option("--reverse", "-r", help="Newest first.")]

PAGE = 200
SHORT = 20


def write_logs(
    run: Invocation,
    control: ControlPlane,
    where: LogFilter,
    *,
    head: bool,
    tail: bool,
    number: int | None,
    reverse: bool,
) -> None:
    """Write the log lines of a run; long logs are read and written page by page.

    Raises:
        CommandFailed: both ends were asked for.
    """
    if head and tail:
        raise CommandFailed("Please provide either a `head` or `tail` option but not both.")
    limit = number if number is not None else SHORT if head or tail else None
    if tail:
        last = list(_pages(control, where, limit=limit, newest_first=True))
        lines = iter(last if reverse else reversed(last))
    elif head:
        first = list(_pages(control, where, limit=limit, newest_first=False))
        lines = iter(reversed(first) if reverse else first)
    else:
        lines = _pages(control, where, limit=limit, newest_first=reverse)
    if run.is_json:
        write_json([log_record(line) for line in lines])
        return
    names = _Names(control)
    has_lines = False
    for line in lines:
        has_lines = True
        level = logging.getLevelName(line.level)
        say(run, f"{local_time(line.timestamp)} | {level:<7} | {names.of(line)} - {line.message}")
    if not has_lines:
        say(run, "This run has no log lines; `get_run_logger()` or `log_prints=True` makes some.")


def _pages(control: ControlPlane, where: LogFilter, *, limit: int | None, newest_first: bool) -> Iterator[LogEmitted]:
    offset = 0
    while limit is None or offset < limit:
        size = PAGE if limit is None else min(PAGE, limit - offset)
        page: Sequence[LogEmitted] = control.read_logs(where, limit=size, offset=offset, newest_first=newest_first)
        yield from page
        offset += len(page)
        if len(page) < size:
            return


class _Names:
    """Who speaks in a line, as on the console; each run is looked up once."""

    def __init__(self, control: ControlPlane) -> None:
        self._control = control
        self._known: dict[UUID, str] = {}

    def of(self, line: LogEmitted) -> str:
        identifier: Any = line.task_run_id or line.flow_run_id
        if identifier not in self._known:
            self._known[identifier] = self._look_up(line)
        return self._known[identifier]

    def _look_up(self, line: LogEmitted) -> str:
        if line.task_run_id is not None:
            found = self._control.read_task_runs(TaskRunFilter(ids=(line.task_run_id,)), limit=1)
            return f"Task run {found[0].name!r}" if found else f"Task run {str(line.task_run_id)!r}"
        if line.flow_run_id is not None:
            return f"Flow run {self._control.read_flow_run(line.flow_run_id).name!r}"
        return line.name
