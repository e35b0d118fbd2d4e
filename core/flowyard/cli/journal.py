"""`flowyard journal`: what flows have recorded and could not send, because their server was away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import say, write_json, write_table
from flowyard.exceptions import ServerAway
from flowyard.remote.backend import spool_folder
from flowyard.remote.connection import Connection
from flowyard.remote.delivery import replay as send
from flowyard.remote.refused import RefusedSummary, exported, refused_files, refused_summary
from flowyard.remote.spool import Spool, SpoolSummary, spool_files, summary_of
from flowyard.services.file_locks import is_locked
from flowyard.settings import FLOWYARD_API_URL, Settings

app = command_group("Look at what waits for a server that is away, and send it.")


@app.command()
def status(context: typer.Context, output: Output = OutputFormat.TABLE) -> None:
    """Show what is kept in this home: one line for each process that recorded something, and what was refused."""
    run = Invocation(context, output)
    settings = run.settings()
    found = _summaries(settings)
    refused = _refused(settings)
    if run.is_json:
        waiting = [_record(summary, is_alive=is_alive) for summary, is_alive in found]
        aside = [{**_record(each.spool, is_alive=False), "refused": each.reason} for each in refused]
        write_json([*waiting, *aside])
    elif not found and not refused:
        say(run, "Nothing waits: servers have everything.")
    else:
        rows = [
            (
                f"{summary.reporter.pid} on {summary.reporter.host}",
                "runs" if is_alive else "has ended",
                summary.url,
                f"{summary.count}",
                f"{summary.size / 1e6:.3f} MB",
                f"{summary.unreadable} bytes" if summary.unreadable else "",
            )
            for summary, is_alive in found
        ]
        rows += [
            (
                f"{each.spool.reporter.pid} on {each.spool.reporter.host}",
                "refused",
                each.spool.url,
                f"{each.spool.count}",
                f"{each.spool.size / 1e6:.3f} MB",
                f"{each.spool.unreadable} bytes" if each.spool.unreadable else "",
            )
            for each in refused
        ]
        write_table(run, ("Process", "State", "Server", "Requests", "Size", "Unreadable"), rows)
        for reason in dict.fromkeys(each.reason for each in refused):
            say(run, f"Refused: {reason}.")
        if refused:
            say(run, "`flowyard journal export FILE` writes what was refused to a file, `journal discard` deletes it.")


@app.command()
def replay(
    context: typer.Context,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Send to this server; default: the one it was meant for.")
    ] = None,
) -> None:
    """Send what processes that have ended could not; those that run send theirs themselves."""
    run = Invocation(context)
    settings = run.settings()
    count = 0
    kept: list[str] = []
    for path in spool_files(spool_folder(settings)):
        spool = Spool.adopt(path)
        if spool is None:
            continue
        try:
            count += _send(spool, settings, url or spool.url)
        except ServerAway as error:
            # What is for other servers shall not wait for this one.
            kept.append(
                f"{spool.count} requests are still kept in {spool.path}: {error.where!r} is away: {error.cause}"
            )
        finally:
            spool.close()
    if kept:
        advice = "start the server there, or say where it is now: flowyard journal replay --url URL"
        raise CommandFailed("\n".join([*kept, *([f"Sent {count} others."] if count else []), advice]))
    say(run, f"Sent {count} requests." if count else "Nothing waits: servers have everything.", colour="green")


@app.command()
def export(
    context: typer.Context, file: Annotated[Path, typer.Argument(help="To write to; it must not be there.")]
) -> None:
    """Write what servers refused to a file: a JSON object for each batch, with its reason and its records."""
    run = Invocation(context)
    paths = refused_files(spool_folder(run.settings()))
    try:
        with file.open("x", encoding="utf-8") as target:
            count = 0
            for line in (line for path in paths for line in exported(path)):
                target.write(line + "\n")
                count += 1
    except OSError as error:
        raise CommandFailed(f"{file} cannot be written: {error}; name another file") from error
    say(run, f"Wrote {count} refused batches to {file}." if count else "Servers refused nothing.", colour="green")


@app.command()
def discard(context: typer.Context, yes: Yes = False) -> None:
    """Delete what servers refused; what still waits to be sent stays."""
    run = Invocation(context)
    refused = _refused(run.settings())
    if not refused:
        say(run, "Servers refused nothing.")
        return
    count = sum(each.spool.count for each in refused)
    run.confirm(f"Delete {count} refused batches for good?", yes=yes)
    for each in refused:
        each.spool.path.unlink(missing_ok=True)
    say(run, f"Deleted {count} refused batches.", colour="green")


def _refused(settings: Settings) -> list[RefusedSummary]:
    found = [refused_summary(path) for path in refused_files(spool_folder(settings))]
    return [each for each in found if each is not None]


def _send(spool: Spool, settings: Settings, url: str) -> int:
    connection = Connection(settings.copy_with_update({FLOWYARD_API_URL: url}))
    try:
        return send(spool, connection)
    finally:
        connection.close()


def _summaries(settings: Settings) -> list[tuple[SpoolSummary, bool]]:
    found: list[tuple[SpoolSummary, bool]] = []
    for path in spool_files(spool_folder(settings)):
        is_alive = bool(is_locked(path))
        summary = summary_of(path)
        if summary is not None and (summary.count or summary.unreadable):
            found.append((summary, is_alive))
    return found


def _record(summary: SpoolSummary, *, is_alive: bool) -> dict[str, object]:
    return {
        "path": str(summary.path),
        "url": summary.url,
        "host": summary.reporter.host,
        "pid": summary.reporter.pid,
        "is_alive": is_alive,
        "requests": summary.count,
        "bytes": summary.size,
        "unreadable_bytes": summary.unreadable,
    }
