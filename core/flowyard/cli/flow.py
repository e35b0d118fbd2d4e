"""`flowyard flow`: the flows that have been run."""

from __future__ import annotations

from typing import Annotated

import typer

from flowyard.cli.invocation import Invocation, Output, OutputFormat
from flowyard.cli.lazy import command_group
from flowyard.cli.output import ago, write_list
from flowyard.cli.records import fields_of

app = command_group("List the flows that have been run.")


@app.callback()
def group() -> None:
    """List the flows that have been run."""


@app.command()
def ls(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 15,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List the flows, newest first."""
    run = Invocation(context, output)
    with run.control() as control:
        flows = control.read_flows(limit=limit)
    write_list(
        run,
        flows,
        fields_of,
        {"ID": lambda flow: str(flow.id), "Name": lambda flow: flow.name, "Created": lambda flow: ago(flow.created)},
        empty="No flows found: a flow appears here after its first run. Call a function decorated with @flow.",
    )
