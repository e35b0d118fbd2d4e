"""`flowyard variable`: small named values that runs share."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat
from flowyard.cli.lazy import command_group
from flowyard.cli.output import ago, say, write_json, write_list
from flowyard.cli.records import fields_of
from flowyard.exceptions import ObjectAlreadyExists, ObjectNotFound
from flowyard.ports import ControlPlane
from flowyard.schemas.variables import VariableRecord

app = command_group("Set, read and delete variables.")
Name = Annotated[str, typer.Argument(help="Name of the variable.")]
_SHOWN = 60


@app.command()
def ls(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 100,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List variables, by name."""
    run = Invocation(context, output)
    with run.control() as control:
        found = control.variables.read_many(limit=limit)
    write_list(
        run,
        found,
        fields_of,
        {
            "Name": lambda each: each.name,
            "Value": lambda each: _shortened(_text(each.value)),
            "Created": lambda each: ago(each.created),
            "Updated": lambda each: ago(each.updated),
        },
        empty="No variables found. Set one: flowyard variable set NAME VALUE",
    )


@app.command()
def get(context: typer.Context, name: Name) -> None:
    """Write the value of a variable: a string as it is, anything else as JSON."""
    run = Invocation(context)
    with run.control() as control:
        typer.echo(_text(_read(control, name).value))


@app.command()
def inspect(context: typer.Context, name: Name, output: Output = OutputFormat.TABLE) -> None:
    """Show a variable."""
    run = Invocation(context, output)
    with run.control() as control:
        found = _read(control, name)
    if run.is_json:
        write_json(fields_of(found))
        return
    say(run, f"Variable {found.name!r}")
    facts = {
        "ID": found.id,
        "Value": _text(found.value),
        "Tags": ", ".join(found.tags),
        "Created": ago(found.created),
        "Updated": ago(found.updated),
    }
    for fact, value in facts.items():
        if value != "":
            say(run, f"  {fact + ':':<10}{value}")


@app.command("set")
def set_value(
    context: typer.Context,
    name: Name,
    value: Annotated[str, typer.Argument(help="The value: a string, unless --json says otherwise.")],
    is_json: Annotated[bool, typer.Option("--json", help="The value is JSON: a number, a list, an object.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the value it has.")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; can be given several times.")] = None,
) -> None:
    """Set a variable."""
    run = Invocation(context)
    parsed: Any = value
    if is_json:
        try:
            parsed = json.loads(value)
        except ValueError as error:
            raise CommandFailed(f"The value is no JSON: {error}. Leave --json out to store it as a string.") from error
    with run.control() as control:
        record = VariableRecord(name, parsed, list(tag or ()))
        try:
            if overwrite:
                control.variables.put(record, keep_tags=tag is None)
            else:
                control.variables.create(record)
        except ObjectAlreadyExists as error:
            raise CommandFailed(f"Variable {name!r} exists already. Use --overwrite to replace its value.") from error
        except (TypeError, ValueError) as error:
            raise CommandFailed(f"{error}.") from error
    say(run, f"Set variable {name!r}.", colour="green")


@app.command()
def delete(context: typer.Context, name: Name) -> None:
    """Delete a variable."""
    run = Invocation(context)
    with run.control() as control:
        try:
            control.variables.delete(name)
        except ObjectNotFound as error:
            raise _not_found(name) from error
    say(run, f"Deleted variable {name!r}.", colour="green")


def _read(control: ControlPlane, name: str) -> VariableRecord:
    found = control.variables.find(name)
    if found is None:
        raise _not_found(name)
    return found


def _not_found(name: str) -> CommandFailed:
    return CommandFailed(f"Variable {name!r} not found. `flowyard variable ls` lists all.")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
