"""The root of the command line: the list of commands, the options before them, and what an error looks like."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from flowyard._version import __version__
from flowyard.cli.invocation import CommandFailed, root_options
from flowyard.cli.lazy import LazyCommand, lazy_group
from flowyard.exceptions import FlowyardError
from flowyard.settings import load_profiles

COMMANDS = {
    "artifact": LazyCommand("flowyard.cli.artifact", "List, inspect and delete artifacts.", aliases=("artifacts",)),
    "block": LazyCommand("flowyard.cli.block", "Register, list, inspect and delete blocks.", aliases=("blocks",)),
    "cache": LazyCommand("flowyard.cli.cache", "Look into the cache of task results, and empty it."),
    "concurrency-limit": LazyCommand(
        "flowyard.cli.concurrency_limit",
        "Limit how many task runs with a tag run at once.",
        aliases=("concurrency-limits",),
    ),
    "config": LazyCommand("flowyard.cli.config", "View and change the settings of a profile."),
    "database": LazyCommand("flowyard.cli.database", "Upgrade, downgrade and reset the state database."),
    "flow": LazyCommand("flowyard.cli.flow", "List the flows that have been run.", aliases=("flows",)),
    "flow-run": LazyCommand(
        "flowyard.cli.flow_run",
        "List, inspect, profile, continue, cancel and delete flow runs.",
        aliases=("flow-runs",),
    ),
    "gc": LazyCommand("flowyard.cli.gc", "Delete old flow runs and the files of their results."),
    "global-concurrency-limit": LazyCommand(
        "flowyard.cli.global_concurrency_limit",
        "Manage the limits that code names with `concurrency` and `rate_limit`.",
        aliases=("gcl", "global-concurrency-limits"),
    ),
    "journal": LazyCommand("flowyard.cli.journal", "Look at what waits for a server that is away, and send it."),
    "profile": LazyCommand("flowyard.cli.profile", "Manage the settings profiles.", aliases=("profiles",)),
    "server": LazyCommand("flowyard.cli.server", "Start and stop a server, and manage its keys and its database."),
    "task-run": LazyCommand(
        "flowyard.cli.task_run", "List and inspect task runs, and read their logs.", aliases=("task-runs",)
    ),
    "variable": LazyCommand("flowyard.cli.variable", "Set, read and delete variables.", aliases=("variables",)),
    "version": LazyCommand("flowyard.cli.version", "Show the version, and what Flowyard runs on."),
}


class RootGroup(TyperGroup):
    """Turns what a command raises into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # noqa: D102  the contract is click's
        try:
            return super().invoke(ctx)
        except FlowyardError as error:
            report(ctx, str(error))
            raise typer.Exit(1) from error
        except (typer.Exit, typer.Abort, KeyboardInterrupt, EOFError, BrokenPipeError):
            raise
        except Exception as error:
            # Usage errors bring their exit code; click prints them.
            if hasattr(error, "exit_code") or os.environ.get("FLOWYARD_TEST_MODE"):
                raise
            import traceback  # noqa: PLC0415  only a defect needs it

            traceback.print_exc()
            report(ctx, "An exception occurred.")
            raise typer.Exit(1) from error


def report(ctx: Any, message: str) -> None:
    """Write an error: in red, on stdout as Prefect does, unless stdout is for JSON alone."""
    # Not `settings.FLOWYARD_CLI_COLORS`: the settings may be what is broken.
    text = message if os.environ.get("NO_COLOR") else typer.style(message, fg=typer.colors.RED)
    typer.echo(text, err=root_options(ctx.find_root()).is_json)


app = typer.Typer(
    cls=lazy_group(COMMANDS, base=RootGroup, add_ons="flowyard.cli"),
    name="flowyard",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
    profile: Annotated[
        str | None,
        typer.Option("--profile", "-p", metavar="NAME", help="Use the settings of this profile for this command."),
    ] = None,
    prompt: Annotated[
        bool | None,
        typer.Option("--prompt/--no-prompt", help="Whether commands may ask; on a terminal they do."),
    ] = None,
) -> None:
    """Run, inspect and manage Flowyard flows."""
    del version
    if profile is not None and profile not in load_profiles():
        raise CommandFailed(f"Unknown profile {profile!r}.")
    options = root_options(context)
    options.profile_name = profile
    options.may_prompt = prompt
