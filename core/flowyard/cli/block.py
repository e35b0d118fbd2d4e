"""`flowyard block`: saved blocks and their types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from flowyard.cli import block_type
from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import local_time, say, write_json, write_list, write_table
from flowyard.cli.records import block_document_record, fields_of
from flowyard.exceptions import BlockNotFound, ObjectNotFound
from flowyard.ports import ControlPlane

app = command_group("Register, list, inspect and delete blocks.")
app.add_typer(block_type.app, name="type")
app.add_typer(block_type.app, name="types", hidden=True)

Slug = Annotated[str | None, typer.Argument(metavar="[TYPE/NAME]", help="Type and name of the block.")]
Id = Annotated[UUID | None, typer.Option("--id", metavar="ID", help="Id of the block, instead of type and name.")]


@app.command()
def register(
    context: typer.Context,
    module: Annotated[str | None, typer.Option("--module", "-m", help="Module with block classes.")] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Python file with block classes.")] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Register the block classes of a module or file as block types."""
    from flowyard.cli import block_classes  # noqa: PLC0415  pydantic: 60 ms that other commands need not pay

    run = Invocation(context, output)
    if (module is None) == (file is None):
        raise CommandFailed("Give either --module or --file, to say where the block classes are.")
    kinds = block_classes.find(module=module, file=file)
    if not kinds:
        raise CommandFailed(
            f"There is no block class in {module or str(file)!r}: a class derived from `flowyard.blocks.core.Block` "
            "and has no abstract methods."
        )
    with run.control() as control:
        found = block_classes.register(control, kinds)
    if run.is_json:
        write_json([fields_of(each) for each in found])
        return
    say(run, f"Registered {len(found)} block type{'s' if len(found) != 1 else ''}.", colour="green")
    write_table(run, ("Registered Blocks", "Class"), [(each.slug, each.origin or "") for each in found])


@app.command()
def ls(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 200,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the saved blocks by type and name."""
    run = Invocation(context, output)
    with run.control() as control:
        found = control.blocks.read_documents(limit=limit)
    write_list(
        run,
        [block_document_record(each) for each in found],
        lambda record: record,
        {
            "ID": lambda record: record["id"],
            "Type": lambda record: record["block_type_name"],
            "Name": lambda record: record["name"],
            "Slug": lambda record: record["slug"],
        },
        empty="No blocks found: save one in Python, e.g. `Secret(value=...).save('name')`.",
    )


@app.command()
def inspect(context: typer.Context, slug: Slug = None, id: Id = None, output: Output = OutputFormat.TABLE) -> None:
    """Show the values of a saved block, secrets as asterisks."""
    run = Invocation(context, output)
    with run.control() as control:
        found = control.blocks.read_document(_find(control, slug, id), include_secrets=False)
    record = block_document_record(found)
    if run.is_json:
        write_json(record)
        return
    say(run, f"Block {record['slug']!r}")
    for name, value in (
        ("ID", record["id"]),
        ("Type", record["block_type_name"]),
        ("Created", local_time(found.created)),
        ("Updated", local_time(found.updated)),
    ):
        say(run, f"  {name + ':':<9}{value}")
    say(run, "Values")
    for name, value in record["data"].items():
        if name != "block_type_slug":
            say(run, f"  {name}: {value}")
    for key, inner in found.references.items():
        say(run, f"Refers to {inner.block_type.slug if inner.block_type else ''}/{inner.name} ({key})")


@app.command()
def delete(context: typer.Context, slug: Slug = None, id: Id = None, yes: Yes = False) -> None:
    """Delete a saved block."""
    run = Invocation(context)
    with run.control() as control:
        document_id = _find(control, slug, id)
        run.confirm(f"Delete block {slug or str(id)!r}?", yes=yes)
        control.blocks.delete_document(document_id)
    say(run, f"Deleted block {slug or str(id)!r}.", colour="green")


@app.command()
def create(
    context: typer.Context,
    block_type_slug: Annotated[str, typer.Argument(metavar="TYPE", help="Slug of the block type.")],
) -> None:
    """Show where in the dashboard a block of a type is made."""
    run = Invocation(context)
    with run.control() as control:
        try:
            kind = control.blocks.read_type(block_type_slug)
        except ObjectNotFound as error:
            known = ", ".join(each.slug for each in control.blocks.read_types()) or "none"
            raise CommandFailed(f"Block type {block_type_slug!r} not found; registered are: {known}.") from error
    url = run.settings().FLOWYARD_UI_URL
    if url is None:
        example = f"\n\n{kind.code_example}" if kind.code_example else ""
        raise CommandFailed(f"FLOWYARD_UI_URL is not set, so there is no dashboard; make the block in Python.{example}")
    say(run, f"Create a {kind.name} block: {url.rstrip('/')}/blocks/catalog/{kind.slug}/create")


def _find(control: ControlPlane, slug: str | None, document_id: UUID | None) -> UUID:
    if (slug is None) == (document_id is None):
        raise CommandFailed("Give either TYPE/NAME or --id, to say which block.")
    if document_id is not None:
        return document_id
    kind, separator, name = str(slug).partition("/")
    if not separator:
        raise CommandFailed(f"{slug!r} is not TYPE/NAME; `flowyard block ls` lists the blocks as it is written.")
    try:
        return control.blocks.find_document(kind, name)
    except BlockNotFound as error:
        raise CommandFailed(f"Block {slug!r} not found; `flowyard block ls` lists those that are saved.") from error
