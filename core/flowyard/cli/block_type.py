"""`flowyard block type`: the types that blocks have."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import say, write_json, write_table
from flowyard.cli.records import fields_of
from flowyard.exceptions import ObjectNotFound

app = command_group("List, inspect and delete block types.")

Slug = Annotated[str, typer.Argument(help="Slug of the block type.")]
_ENTRY_POINTS = "flowyard.blocks"


@app.command()
def ls(context: typer.Context, output: Output = OutputFormat.TABLE) -> None:
    """List the block types: those that are registered, and those that are installed."""
    run = Invocation(context, output)
    with run.control() as control:
        registered = control.blocks.read_types(limit=10_000)
    if run.is_json:
        write_json([fields_of(kind) for kind in registered])
        return
    rows = [(kind.slug, kind.description or "", "yes") for kind in registered]
    known = {kind.slug for kind in registered}
    # These are registered with the first block of the type that is saved.
    rows += [(point.name, _description(point), "no") for point in _installed() if point.name not in known]
    write_table(run, ("Block Type Slug", "Description", "Registered"), rows)


def _installed() -> list[EntryPoint]:
    return sorted(entry_points(group=_ENTRY_POINTS), key=lambda point: point.name)


def _description(point: EntryPoint) -> str:
    try:
        return point.load().get_description() or ""
    except Exception as error:  # its package lacks something: that hides only this one
        return f"cannot be loaded: {error}"


@app.command()
def inspect(context: typer.Context, slug: Slug, output: Output = OutputFormat.TABLE) -> None:
    """Show a block type and its schemas."""
    run = Invocation(context, output)
    with run.control() as control:
        try:
            kind = control.blocks.read_type(slug)
        except ObjectNotFound as error:
            raise CommandFailed(f"Block type {slug!r} not found; `flowyard block type ls` lists them.") from error
        schemas = control.blocks.read_schemas(slug)
    if run.is_json:
        write_json({**fields_of(kind), "schemas": [fields_of(schema) for schema in schemas]})
        return
    say(run, f"Block type {kind.slug!r}")
    facts = {
        "Name": kind.name,
        "Description": kind.description,
        "Documentation": kind.documentation_url,
        "Class": kind.origin,
        "Built in": "yes" if kind.is_protected else "no",
        "Example": kind.code_example,
    }
    for name, value in facts.items():
        if value:
            say(run, f"  {name + ':':<15}{value}")
    for schema in schemas:
        say(run, f"Schema {schema.checksum}")
        say(run, f"  Version:      {schema.version}")
        say(run, f"  Capabilities: {', '.join(schema.capabilities)}")
        say(run, f"  Fields:       {', '.join(schema.fields.get('properties', {}))}")
        say(run, f"  Secret:       {', '.join(schema.fields.get('secret_fields', []))}")


@app.command()
def delete(context: typer.Context, slug: Slug, yes: Yes = False) -> None:
    """Delete a block type with all of its blocks."""
    run = Invocation(context)
    with run.control() as control:
        run.confirm(f"Delete block type {slug!r} with all of its blocks?", yes=yes)
        try:
            control.blocks.delete_type(slug)
        except ObjectNotFound as error:
            raise CommandFailed(f"Block type {slug!r} not found; `flowyard block type ls` lists them.") from error
    say(run, f"Deleted block type {slug!r}.", colour="green")
