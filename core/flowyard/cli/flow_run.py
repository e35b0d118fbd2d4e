"""`flowyard flow-run`: executions of flows."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from flowyard.cli import continuing
from flowyard.cli.inspection import write_facts, write_states
from flowyard.cli.invocation import CommandFailed, Invocation, Output, OutputFormat
from flowyard.cli.lazy import command_group
from flowyard.cli.logs import Head, Number, Reverse, Tail, write_logs
from flowyard.cli.output import say, write_json
from flowyard.cli.records import flow_run_record, state_record
from flowyard.cli.runs import RunNoun
from flowyard.exceptions import ObjectNotFound
from flowyard.schemas.filters import FlowRunFilter, LogFilter
from flowyard.schemas.runs import FlowRun
from flowyard.schemas.states import StateType

app = command_group("List, inspect, profile, continue, cancel and delete flow runs.")

Id = Annotated[UUID, typer.Argument(metavar="ID", help="Id of the flow run.")]
_RUNS = RunNoun[FlowRun](
    "flow", lambda run: run.flow_name, flow_run_record, lambda control, identifier: control.read_flow_run(identifier)
)


@app.command()
def ls(
    context: typer.Context,
    flow_name: Annotated[list[str] | None, typer.Option(help="Only runs of this flow; repeat for several.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 15,
    state: Annotated[list[str] | None, typer.Option(help="Only runs in the state of this name.")] = None,
    state_type: Annotated[list[str] | None, typer.Option(help="Only runs in a state of this type.")] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List flow runs, newest first."""
    run = Invocation(context, output)
    where = FlowRunFilter(
        flow_names=tuple(flow_name) if flow_name else None,
        state_names=tuple(state) if state else None,
        state_types=tuple(map(_state_type, state_type)) if state_type else None,
    )
    with run.control() as control:
        flow_runs = control.read_flow_runs(where, limit=limit)
    _RUNS.write_list(run, flow_runs, is_filtered=where != FlowRunFilter())


@app.command()
def inspect(context: typer.Context, id: Id, output: Output = OutputFormat.TABLE) -> None:
    """Show a flow run, its states, and how far its tasks are."""
    run = Invocation(context, output)
    with run.control() as control:
        flow_run = _RUNS.read(control, id)
        states = control.read_flow_run_states(id)
        counts = control.task_run_counts(id)
    if run.is_json:
        record = flow_run_record(flow_run)
        record["states"] = [state_record(state) for state in states]
        record["task_runs"] = [
            {"task_name": task, "state_name": name, "count": count} for (task, name), count in sorted(counts.items())
        ]
        write_json(record)
        return
    write_facts(
        run,
        f"Flow run {flow_run.name!r}",
        flow_run,
        {
            "Flow": f"{flow_run.flow_name} ({flow_run.flow_id})",
            "Flow version": flow_run.flow_version,
            "Parameters": flow_run.parameters,
            "Parent task run": flow_run.parent_task_run_id,
            "Entrypoint": flow_run.start.entrypoint,
            "Process": flow_run.infrastructure_pid,
        },
    )
    write_states(run, states)
    if counts:
        say(run, "Task runs")
        by_task: dict[str, list[str]] = {}
        for (task, name), count in sorted(counts.items()):
            by_task.setdefault(task, []).append(f"{count} {name}")
        for task, parts in by_task.items():
            say(run, f"  {task}: {', '.join(parts)}")


@app.command()
def logs(
    context: typer.Context,
    id: Id,
    head: Head = False,
    num_logs: Number = None,
    reverse: Reverse = False,
    tail: Tail = False,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show the log lines of a flow run and of its tasks."""
    run = Invocation(context, output)
    with run.control() as control:
        _RUNS.read(control, id)
        write_logs(run, control, LogFilter(flow_run_id=id), head=head, tail=tail, number=num_logs, reverse=reverse)


@app.command()
def profile(
    context: typer.Context,
    id: Id,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=1, metavar="N", help="Predict the time with N workers; repeat for several."),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="FILE", dir_okay=False, help="Write a trace for Perfetto or Chrome to this file."),
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show where the time of a flow run went."""
    run = Invocation(context, output)
    with run.control() as control:
        flow_run = _RUNS.read(control, id)
        # By name: what computes profiles is loaded for this command only.
        module = importlib.import_module("flowyard.cli.profile_run")
        module.write_profile(run, control, flow_run, workers=workers, trace=trace)


@app.command()
def delete(context: typer.Context, id: Id) -> None:
    """Delete a flow run with its task runs, states and logs."""
    run = Invocation(context)
    with run.control() as control:
        try:
            control.delete_flow_run(id)
        except ObjectNotFound as error:
            raise _RUNS.not_found(id) from error
    say(run, f"Successfully deleted flow run '{id}'.", colour="green")


app.command()(continuing.retry)
app.command()(continuing.resume)
app.command()(continuing.fork)
app.command()(continuing.cancel)


def _state_type(text: str) -> StateType:
    try:
        return StateType(text.upper())
    except ValueError:
        raise CommandFailed(
            f"Invalid state type {text!r}. Valid state types are: {', '.join(kind.value for kind in StateType)}."
        ) from None
