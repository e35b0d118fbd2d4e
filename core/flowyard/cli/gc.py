"""`flowyard gc`: deletes what is old."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.output import say, write_json
from flowyard.process.backends import PROCESS
from flowyard.retention import Garbage, collect_garbage

app = typer.Typer(add_completion=False, rich_markup_mode=None)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command()
def gc(
    context: typer.Context,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="How long ago they ended: 30d, 12h, 2w. Default: FLOWYARD_RETENTION_PERIOD."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Yes = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Delete flow runs that ended long ago, with their states, logs, artifacts and result files.

    What the cache or a fork still needs stays, and so do variables, blocks and limits.
    """
    run = Invocation(context, output)
    age = run.settings().FLOWYARD_RETENTION_PERIOD if older_than is None else _age(older_than)
    if age is None:
        raise CommandFailed("Say how old: --older-than 30d, or set FLOWYARD_RETENTION_PERIOD.")
    if not dry_run:
        run.confirm(f"Delete flow runs that ended more than {age} ago?", yes=yes)
    try:
        garbage = collect_garbage(age, dry_run=dry_run)
    finally:
        PROCESS.close()
    if run.is_json:
        write_json(_record(garbage, dry_run=dry_run))
        return
    verb = "Would delete" if dry_run else "Deleted"
    say(
        run,
        f"{verb} {len(garbage.flow_runs)} flow runs with {garbage.task_run_count} task runs, and "
        f"{garbage.file_count} result files ({garbage.byte_count / 1e6:.1f} MB).",
    )


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", text)
    if found is None:
        raise CommandFailed(f"--older-than {text!r} must be a number and a unit: 90m, 12h, 30d, 2w.")
    return timedelta(**{_UNITS[found[2]]: float(found[1])})


def _record(garbage: Garbage, *, dry_run: bool) -> dict[str, object]:
    return {
        "dry_run": dry_run,
        "flow_runs": [str(flow_run_id) for flow_run_id in garbage.flow_runs],
        "task_run_count": garbage.task_run_count,
        "file_count": garbage.file_count,
        "byte_count": garbage.byte_count,
    }
