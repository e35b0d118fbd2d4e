"""`flowyard database`, also `flowyard server database`: the tables of the state backend."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

import typer

from flowyard.cli.invocation import Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import say, write_json
from flowyard.store import schema, versions
from flowyard.store.database import Database, connect_database

app = command_group("Upgrade, downgrade and reset the state database.")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@app.command()
def upgrade(
    context: typer.Context,
    yes: Yes = False,
    revision: Annotated[str, typer.Option("-r", "--revision", help="Version to upgrade to.")] = "head",
    dry_run: DryRun = False,
) -> None:
    """Bring the tables to a newer version, or make them."""
    run = Invocation(context)
    with _database(run) as database:
        before = _version(database)
        target = versions.CURRENT if revision == "head" else revision
        if dry_run:
            say(run, f"Would upgrade {database.where} from {_shown(before)} to version {target}.")
            return
        run.confirm(f"Upgrade the database {database.where} from {_shown(before)}?", yes=yes)
        _, after = schema.upgrade(database, revision)
    if before == after:
        say(run, f"The database has version {after} already.", colour="green")
    else:
        say(run, f"Upgraded the database from {_shown(before)} to version {after}.", colour="green")


@app.command()
def downgrade(
    context: typer.Context,
    yes: Yes = False,
    revision: Annotated[
        str, typer.Option("-r", "--revision", help="Version to go back to; -1 is one step, `base` removes all tables.")
    ] = "-1",
    dry_run: DryRun = False,
) -> None:
    """Bring the tables back to an older version. What that version cannot hold is lost."""
    run = Invocation(context)
    with _database(run) as database:
        before = _version(database)
        if dry_run:
            say(run, f"Would downgrade {database.where} from {_shown(before)} to {revision}.")
            return
        run.confirm(
            f"Downgrade the database {database.where} from {_shown(before)} to {revision}? Records can be lost.",
            yes=yes,
        )
        _, after = schema.downgrade(database, revision)
    say(run, f"Downgraded the database from {_shown(before)} to {_shown(after)}.", colour="green")


@app.command()
def reset(context: typer.Context, yes: Yes = False) -> None:
    """Delete every run and record, and make empty tables."""
    run = Invocation(context)
    with _database(run) as database:
        run.confirm(f"Delete all runs and records in {database.where}?", yes=yes)
        schema.reset(database)
        say(run, f"Database {database.where} reset: it is empty now.", colour="green")


@app.command()
def version(context: typer.Context, output: Output = OutputFormat.TABLE) -> None:
    """Show the version of the tables."""
    run = Invocation(context, output)
    with _database(run) as database:
        present = _version(database)
        if run.is_json:
            write_json({"database": database.where, "version": present, "newest": versions.CURRENT})
            return
        note = "" if present == versions.CURRENT else f"; the newest is {versions.CURRENT}: `flowyard database upgrade`"
        say(run, f"{database.where} has {_shown(present)}{note}")


@contextmanager
def _database(run: Invocation) -> Generator[Database]:
    settings = run.settings()
    database = connect_database(
        settings.FLOWYARD_API_DATABASE_CONNECTION_URL, connect_timeout=settings.FLOWYARD_API_DATABASE_CONNECTION_TIMEOUT
    )
    try:
        yield database
    except database.errors as error:
        raise database.unavailable(error) from error
    finally:
        database.close()


def _version(database: Database) -> str | None:
    with database.plain_reading() as connection:
        return versions.read_version(connection)


def _shown(version: str | None) -> str:
    return "no tables" if version is None else f"version {version}"
