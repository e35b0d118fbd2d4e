"""`flowyard server key`: who may ask a server, and for what."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import ago, say, write_json, write_list
from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.schemas.keys import ApiKey, Scope
from flowyard.services.api_keys import make_key
from flowyard.store import api_keys
from flowyard.store.database import Database, open_database

app = command_group("Make, list and revoke API keys.")
Name = Annotated[str, typer.Argument(help="What the key is called.")]


@app.callback()
def group() -> None:
    """Make, list and revoke API keys, in the database of the server."""


@app.command()
def create(
    context: typer.Context,
    name: Name,
    scope: Annotated[
        Scope, typer.Option("--scope", help="`read` looks, `run` runs flows, `admin` changes everything.")
    ] = Scope.RUN,
    days: Annotated[int | None, typer.Option("--days", min=1, help="Days it is good for.", show_default="ever")] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Make a key, and show it once."""
    run = Invocation(context, output)
    key, text = make_key(name, scope, now=datetime.now(UTC), lifetime=None if days is None else timedelta(days=days))
    with _database(run) as database, database.writing() as connection:
        try:
            api_keys.insert_key(connection, key)
        except ObjectAlreadyExists as error:
            raise CommandFailed(f"There is an API key {name!r} already; revoked ones keep their name.") from error
    if run.is_json:
        write_json({**_record(key), "key": text})
        return
    say(run, f"Made the API key {name!r} with the scope `{scope}`. It is shown only now:", colour="green")
    typer.echo(text)
    say(run, f"A client sends it when it is set: flowyard config set FLOWYARD_API_KEY={key.prefix}_...")


@app.command()
def ls(context: typer.Context, output: Output = OutputFormat.TABLE) -> None:
    """List the keys."""
    run = Invocation(context, output)
    with _database(run) as database, database.reading() as connection:
        found = api_keys.read_many(connection)
    now = datetime.now(UTC)
    write_list(
        run,
        found,
        _record,
        {
            "Name": lambda key: key.name,
            "Scope": lambda key: key.scope.value,
            "Begins with": lambda key: key.prefix,
            "Created": lambda key: ago(key.created),
            "Good until": lambda key: _life(key, now),
        },
        empty="No API keys. Make one: flowyard server key create NAME",
    )


@app.command()
def revoke(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Make a key useless, for good; servers that remember it do so for five seconds."""
    run = Invocation(context)
    run.confirm(f"Revoke the API key {name!r}? Whoever uses it is shut out.", yes=yes)
    with _database(run) as database, database.writing() as connection:
        try:
            api_keys.revoke(connection, name, now=datetime.now(UTC))
        except ObjectNotFound as error:
            raise CommandFailed(f"There is no API key {name!r}: flowyard server key ls") from error
    say(run, f"Revoked the API key {name!r}.", colour="green")


@contextmanager
def _database(run: Invocation) -> Generator[Database]:
    settings = run.settings()
    database = open_database(
        settings.FLOWYARD_API_DATABASE_CONNECTION_URL,
        connect_timeout=settings.FLOWYARD_API_DATABASE_CONNECTION_TIMEOUT,
        echo=settings.FLOWYARD_API_DATABASE_ECHO,
        migrate=settings.FLOWYARD_API_DATABASE_MIGRATE_ON_START,
    )
    try:
        yield database
    finally:
        database.close()


def _life(key: ApiKey, now: datetime) -> str:
    if key.revoked is not None:
        return "revoked"
    if key.expires is None:
        return "it is revoked"
    return "expired" if key.expires <= now else ago(key.expires)


def _record(key: ApiKey) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "name": key.name,
        "scope": key.scope.value,
        "prefix": key.prefix,
        "created": key.created.isoformat(),
        "expires": key.expires and key.expires.isoformat(),
        "revoked": key.revoked and key.revoked.isoformat(),
    }
