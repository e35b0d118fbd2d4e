"""`flowyard server start`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated, Any

import typer

from flowyard.cli.background import ServerProcess
from flowyard.cli.invocation import CommandFailed, Invocation
from flowyard.cli.output import say
from flowyard.exceptions import ServerNotStarted
from flowyard.server.serve import Place, check_open_to_whom, serve
from flowyard.settings import Settings, temporary_settings
from flowyard.settings.setting import Setting

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def start(
    context: typer.Context,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.", show_default="4200")] = None,
    keep_alive_timeout: Annotated[
        int | None, typer.Option("--keep-alive-timeout", help="Seconds an idle connection is kept.")
    ] = None,
    log_level: Annotated[str | None, typer.Option("--log-level", help="Level of the server's log lines.")] = None,
    scheduler: Annotated[
        bool | None, typer.Option("--scheduler/--no-scheduler", help="Whether runs of deployments are scheduled.")
    ] = None,
    late_runs: Annotated[
        bool | None, typer.Option("--late-runs/--no-late-runs", help="Whether late runs are marked.")
    ] = None,
    ui: Annotated[bool | None, typer.Option("--ui/--no-ui", help="Whether the dashboard is served.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes that answer requests.")] = 1,
    background: Annotated[
        bool, typer.Option("--background", "-b", help="Run in the background, until `flowyard server stop`.")
    ] = False,
) -> None:
    """Start a server that records everyone's runs; Ctrl-C stops it."""
    run = Invocation(context)
    changes = {
        Settings.FLOWYARD_SERVER_API_HOST: host,
        Settings.FLOWYARD_SERVER_API_PORT: port,
        Settings.FLOWYARD_SERVER_API_KEEPALIVE_TIMEOUT: keep_alive_timeout,
        Settings.FLOWYARD_LOGGING_SERVER_LEVEL: log_level,
        Settings.FLOWYARD_API_SERVICES_SCHEDULER_ENABLED: scheduler,
        Settings.FLOWYARD_API_SERVICES_LATE_RUNS_ENABLED: late_runs,
        Settings.FLOWYARD_UI_ENABLED: ui,
    }
    given: dict[Setting[Any], Any] = {name: value for name, value in changes.items() if value is not None}
    run.settings()
    with temporary_settings(updates=given) as settings:
        place = Place(settings.FLOWYARD_SERVER_API_HOST, settings.FLOWYARD_SERVER_API_PORT)
        try:
            if background:
                check_open_to_whom(settings, place)
                _start_in_background(run, settings, place, workers)
                return
            serve(settings, place, workers=workers, on_listening=lambda url: _welcome(run, settings, url))
        except ServerNotStarted as error:
            raise CommandFailed(str(error)) from error
    say(run, "Server stopped!")


def _welcome(run: Invocation, settings: Settings, url: str) -> None:
    address = url.removesuffix("/api")
    say(run, f"Flowyard server: {url}", colour="green")
    say(run, f"API documentation: {address}/docs")
    say(run, f"Let flows report to it: flowyard config set FLOWYARD_API_URL={url}")


def _start_in_background(run: Invocation, settings: Settings, place: Place, workers: int) -> None:
    process = ServerProcess(settings.FLOWYARD_HOME)
    pid = process.pid()
    if pid is not None:
        raise CommandFailed(f"A server runs in the background already (process {pid}): flowyard server stop")
    log = settings.FLOWYARD_HOME / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "flowyard.cli", "server", "start", "--workers", str(workers)]
    env = {**os.environ, **settings.to_environment_variables(exclude_unset=True)}
    with log.open("ab") as output:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True
        )
    process.note(started.pid)
    if not process.wait_until_listening(started, place):
        process.forget()
        raise CommandFailed(f"The server ended at once: see {log}")
    say(run, f"The server runs in the background (process {started.pid}): {place.url(is_secure=False)}", colour="green")
    say(run, f"Its log is {log}; stop it with: flowyard server stop")
