"""`flowyard concurrency-limit`: how many task runs with a tag run at once."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import ago, say, write_json, write_list, write_table
from flowyard.exceptions import ObjectNotFound
from flowyard.ports import ControlPlane
from flowyard.schemas.limits import TAG_PREFIX, ConcurrencyLimit

app = command_group("Limit how many task runs with a tag run at once.")
Tag = Annotated[str, typer.Argument(help="The tag of the task runs.")]


@app.callback()
def group() -> None:
    """Limit how many task runs with a tag run at once."""


@app.command()
def create(
    context: typer.Context,
    tag: Tag,
    concurrency_limit: Annotated[int, typer.Argument(min=0, help="How many run at once; 0 for none.")],
) -> None:
    """Make the limit of a tag, or change it."""
    run = Invocation(context)
    if not tag.strip():
        raise CommandFailed("A tag needs a name.")
    name = TAG_PREFIX + tag
    with run.control() as control:
        try:
            control.limits.update(name, limit=concurrency_limit, active=True)
        except ObjectNotFound:
            control.limits.create(ConcurrencyLimit(name=name, limit=concurrency_limit))
    say(run, f"At most {concurrency_limit} task runs with tag '{tag}' run at once.", colour="green")


@app.command()
def ls(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 15,
    offset: Annotated[int, typer.Option(min=0, help="Rows to leave out.")] = 0,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the limits of tags."""
    run = Invocation(context, output)
    with run.control() as control:
        tagged = [found for found in control.limits.read_many(limit=10_000) if found.name.startswith(TAG_PREFIX)]
        records = [_record(control, found) for found in tagged[offset : offset + limit]]
    write_list(
        run,
        records,
        lambda record: record,
        {
            "Tag": lambda record: record["tag"],
            "Limit": lambda record: str(record["concurrency_limit"]),
            "Active task runs": lambda record: str(len(record["active_slots"])),
        },
        empty="No tag is limited. Limit one: flowyard concurrency-limit create TAG 5",
    )


@app.command()
def inspect(context: typer.Context, tag: Tag, output: Output = OutputFormat.TABLE) -> None:
    """Show the limit of a tag, and the task runs that count against it."""
    run = Invocation(context, output)
    with run.control() as control:
        found = control.limits.read(TAG_PREFIX + tag)
        record, holders = _record(control, found), control.limits.holders(found.name)
    if run.is_json:
        write_json(record)
        return
    rows = [(key, f"{value}") for key, value in record.items() if key != "active_slots"]
    write_table(run, ("Field", "Value"), rows)
    if holders:
        active = [(str(holder.task_run_id), ago(holder.acquired)) for holder in holders]
        write_table(run, ("Active task run", "Since"), active)


@app.command()
def reset(context: typer.Context, tag: Tag) -> None:
    """Take the slots of a tag back from every task run; those that run go on."""
    run = Invocation(context)
    with run.control() as control:
        control.limits.update(TAG_PREFIX + tag, active_slots=0)
    say(run, f"Reset the limit of tag '{tag}'.", colour="green")


@app.command()
def delete(context: typer.Context, tag: Tag, yes: Yes = False) -> None:
    """Let any number of task runs with a tag run."""
    run = Invocation(context)
    with run.control() as control:
        control.limits.read(TAG_PREFIX + tag)
        run.confirm(f"Delete the limit of tag '{tag}'?", yes=yes)
        control.limits.delete(TAG_PREFIX + tag)
    say(run, f"Deleted the limit of tag '{tag}'.", colour="green")


def _record(control: ControlPlane, limit: ConcurrencyLimit) -> dict[str, Any]:
    return {
        "id": str(limit.id),
        "tag": limit.name.removeprefix(TAG_PREFIX),
        "concurrency_limit": limit.limit,
        "active_slots": [str(holder.task_run_id) for holder in control.limits.holders(limit.name)],
        "created": limit.created.isoformat(),
        "updated": limit.updated.isoformat(),
    }
