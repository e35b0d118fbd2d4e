"""`flowyard server stop`."""

from __future__ import annotations

import typer

from flowyard.cli.background import ServerProcess
from flowyard.cli.invocation import CommandFailed, Invocation
from flowyard.cli.output import say

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def stop(context: typer.Context) -> None:
    """Stop the server that `flowyard server start --background` started."""
    run = Invocation(context)
    process = ServerProcess(run.settings().FLOWYARD_HOME)
    pid = process.pid()
    if pid is None:
        say(run, "No server running in the background.")
        return
    if not process.stop(pid):
        raise CommandFailed(f"The server (process {pid}) has not ended after 30 s; its requests may still be answered.")
    say(run, "Server stopped!")
