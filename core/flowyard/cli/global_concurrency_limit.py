"""`flowyard gcl`: limits that code names with `concurrency` and `rate_limit`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat, Yes
from flowyard.cli.lazy import command_group
from flowyard.cli.output import ago, say, write_json, write_list, write_table
from flowyard.cli.records import fields_of
from flowyard.exceptions import FlowyardError
from flowyard.schemas.limits import TAG_PREFIX, ConcurrencyLimit, SlotHolder

app = command_group("Manage the limits that code names with `concurrency` and `rate_limit`.")
Name = Annotated[str, typer.Argument(help="The limit, by name or id.")]


@app.callback()
def group() -> None:
    """Manage the limits that code names with `concurrency` and `rate_limit`."""


@app.command()
def ls(context: typer.Context, output: Output = OutputFormat.TABLE) -> None:
    """List the limits."""
    run = Invocation(context, output)
    with run.control() as control:
        found = [limit for limit in control.limits.read_many(limit=10_000) if not limit.name.startswith(TAG_PREFIX)]
    write_list(
        run,
        found,
        fields_of,
        {
            "Name": lambda limit: limit.name,
            "Active": lambda limit: "yes" if limit.active else "no",
            "Slots taken": lambda limit: f"{limit.active_slots}/{limit.limit}",
            "Waited for": lambda limit: str(limit.denied_slots),
            "Decay/s": lambda limit: f"{limit.slot_decay_per_second:g}",
            "Created": lambda limit: ago(limit.created),
        },
        empty="No global concurrency limits found. Make one: flowyard gcl create NAME --limit 5",
    )


@app.command()
def inspect(context: typer.Context, name: Name, output: Output = OutputFormat.TABLE) -> None:
    """Show a limit, and who holds its slots."""
    run = Invocation(context, output)
    with run.control() as control:
        limit, holders = control.limits.read(name), control.limits.holders(name)
    if run.is_json:
        write_json({**fields_of(limit), "holders": [_holder_record(holder) for holder in holders]})
        return
    write_table(run, ("Field", "Value"), [(key, f"{value}") for key, value in fields_of(limit).items()])
    if holders:
        rows = [
            (str(holder.task_run_id or holder.flow_run_id or ""), str(holder.slots), ago(holder.acquired))
            for holder in holders
        ]
        write_table(run, ("Held by run", "Slots", "Since"), rows)


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What code calls the limit.")],
    limit: Annotated[int, typer.Option("--limit", "-l", min=0, help="How many slots it has.")],
    disable: Annotated[bool, typer.Option("--disable", help="Let everybody pass for now.")] = False,
    active_slots: Annotated[int, typer.Option(min=0, help="Slots that are taken at first; needs a decay.")] = 0,
    slot_decay_per_second: Annotated[float, typer.Option(min=0.0, help="Slots that come back a second.")] = 0.0,
) -> None:
    """Make a limit."""
    run = Invocation(context)
    made = ConcurrencyLimit(
        name=name,
        limit=limit,
        active=not disable,
        active_slots=active_slots,
        slot_decay_per_second=slot_decay_per_second,
    )
    with run.control() as control, _refusing():
        control.limits.create(made)
    say(run, f"Created concurrency limit '{name}' with {limit} slots.", colour="green")


@app.command()
def update(
    context: typer.Context,
    name: Name,
    enable: Annotated[bool, typer.Option("--enable", help="Count from now on.")] = False,
    disable: Annotated[bool, typer.Option("--disable", help="Let everybody pass.")] = False,
    limit: Annotated[int | None, typer.Option("--limit", "-l", min=0, help="How many slots it has.")] = None,
    active_slots: Annotated[
        int | None, typer.Option(min=0, help="Slots that are taken; 0 takes back what is held.")
    ] = None,
    slot_decay_per_second: Annotated[float | None, typer.Option(min=0.0, help="Slots that come back a second.")] = None,
) -> None:
    """Change a limit; whoever waits for it is asked again at once."""
    run = Invocation(context)
    if enable and disable:
        raise CommandFailed("Give one of --enable and --disable, not both.")
    given = {
        "limit": limit,
        "active_slots": active_slots,
        "slot_decay_per_second": slot_decay_per_second,
        "active": True if enable else False if disable else None,
    }
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if not changes:
        raise CommandFailed("Nothing to change: give --limit, --active-slots, --slot-decay-per-second, --enable ...")
    with run.control() as control, _refusing():
        control.limits.update(name, **changes)
    say(run, f"Updated concurrency limit '{name}'.", colour="green")


@app.command()
def enable(context: typer.Context, name: Name) -> None:
    """Make an inactive limit count."""
    _switch(Invocation(context), name, is_active=True)


@app.command()
def disable(context: typer.Context, name: Name) -> None:
    """Let everybody pass a limit."""
    _switch(Invocation(context), name, is_active=False)


@app.command()
def delete(context: typer.Context, name: Name, yes: Yes = False) -> None:
    """Delete a limit; whoever holds its slots goes on."""
    run = Invocation(context)
    with run.control() as control:
        control.limits.read(name)
        run.confirm(f"Delete concurrency limit '{name}'?", yes=yes)
        control.limits.delete(name)
    say(run, f"Deleted concurrency limit '{name}'.", colour="green")


@contextmanager
def _refusing() -> Generator[None]:
    """Say what is wrong with a limit that cannot be."""
    try:
        yield
    except FlowyardError:  # its message stands for itself
        raise
    except ValueError as error:
        raise CommandFailed(f"{error}.") from error


def _switch(run: Invocation, name: str, *, is_active: bool) -> None:
    word = "enabled" if is_active else "disabled"
    with run.control() as control:
        if control.limits.read(name).active is is_active:
            raise CommandFailed(f"Concurrency limit '{name}' is {word} already.")
        control.limits.update(name, active=is_active)
    say(run, f"Concurrency limit '{name}' is {word}.", colour="green")


def _holder_record(holder: SlotHolder) -> dict[str, Any]:
    return {
        "lease_id": str(holder.lease_id),
        "slots": holder.slots,
        "flow_run_id": str(holder.flow_run_id) if holder.flow_run_id else None,
        "task_run_id": str(holder.task_run_id) if holder.task_run_id else None,
        "acquired": holder.acquired.isoformat(),
    }
