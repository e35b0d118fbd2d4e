"""`flowyard version`."""

from __future__ import annotations

import platform
import sqlite3
from typing import Any

import typer

from flowyard._version import __version__
from flowyard.cli.invocation import Invocation, Output, OutputFormat
from flowyard.cli.output import say, write_json
from flowyard.settings import load_profiles

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def show_version(context: typer.Context, output: Output = OutputFormat.TABLE) -> None:
    """Show the version, and what Flowyard runs on."""
    run = Invocation(context, output)
    settings = run.settings()
    facts: dict[str, Any] = {
        "Version": __version__,
        "Python version": platform.python_version(),
        "OS/Arch": f"{platform.system().lower()}/{platform.machine()}",
        "Profile": run.profile(load_profiles()).name,
        "Home": str(settings.FLOWYARD_HOME),
        "Server type": "server" if settings.FLOWYARD_API_URL else "embedded",
    }
    if settings.FLOWYARD_API_URL:
        facts["API URL"] = settings.FLOWYARD_API_URL
    else:
        scheme = settings.FLOWYARD_API_DATABASE_CONNECTION_URL.partition(":")[0].partition("+")[0]
        facts["Database"] = "postgresql" if scheme.startswith("postgres") else scheme
        if facts["Database"] == "sqlite":
            facts["SQLite version"] = sqlite3.sqlite_version
    if run.is_json:
        write_json({name.lower().replace(" ", "_").replace("/", "_"): value for name, value in facts.items()})
        return
    for name, value in facts.items():
        say(run, f"{name + ':':<20}{value}")
